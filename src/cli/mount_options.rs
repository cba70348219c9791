//! The words behind `-o` of a mount: settings, flags of a mount, and what fstab and systemd add.

use crate::config::{is_own_option, split_options};

use super::{Exit, Failure};

/// What was asked for behind `-o`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MountOptions {
    /// Medusafs's own settings; whether there are such is for [`crate::config`] to say.
    pub(super) settings: Vec<(String, String)>,
    /// `ro`: the kernel refuses every change, so nothing can be begun through this mount.
    pub(super) read_only: bool,
}

/// Words that change nothing here: for mount(8), fstab or systemd, or true of every mount of ours
/// (which is `nosuid,nodev,noexec,noatime`, whoever asks for the contrary).
const WITHOUT_EFFECT: &[&str] = &[
    "_netdev",
    "_rnetdev",
    "async",
    "atime",
    "auto",
    "comment",
    "default_permissions",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "fail",
    "group",
    "helper",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nogroup",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "silent",
    "strictatime",
    "suid",
    "sync",
    "uhelper",
    "user",
    "users",
];

impl MountOptions {
    /// Sorts the texts of all `-o`; `is_root` tells whether every user will see the tree. With
    /// `sloppy` among them, as mount(8)'s `-s` wishes, what nobody knows is passed over.
    ///
    /// # Errors
    ///
    /// Exit 2: a quote that is not closed, a remount, a tree for others by an ordinary user.
    pub(super) fn sort(texts: &[String], is_root: bool) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::new(Exit::Usage, what);
        let (mut sorted, mut is_sloppy) = (Self::default(), false);
        for text in texts {
            let options = split_options(text).map_err(wrong)?;
            for (name, value) in options {
                match name.as_str() {
                    "ro" => sorted.read_only = true,
                    "rw" => sorted.read_only = false,
                    "sloppy" => is_sloppy = true,
                    "remount" => {
                        return Err(wrong("-o remount: a medusafs is not remounted".to_owned())
                            .hint("unmount it and mount it again; jobs go on meanwhile"));
                    }
                    "allow_other" | "allow_root" if is_root => {}
                    "allow_other" | "allow_root" => {
                        let what = format!("-o {name}: the mount of an ordinary user is his alone");
                        return Err(wrong(what).hint("mount as root, and set read_group"));
                    }
                    _ if name.starts_with("x-") || name.starts_with("X-") => {}
                    known if WITHOUT_EFFECT.contains(&known) => {}
                    _ => sorted.settings.push((name, value)),
                }
            }
        }
        if is_sloppy {
            sorted.settings.retain(|(name, _)| is_own_option(name) || name == "prefix");
        }
        Ok(sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(texts: &[&str]) -> MountOptions {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        MountOptions::sort(&texts, true).unwrap()
    }

    #[test]
    fn words_of_fstab_are_taken_and_settings_are_kept_with_their_commas() {
        let text = "rw,_netdev,nofail,x-systemd.requires=nfs.mount,contact_points=\"a,b\",user=me";
        let kept = sorted(&[text, "allow_other,default_permissions,allow_delete"]);
        let settings: Vec<_> =
            kept.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(settings, [("contact_points", "a,b"), ("allow_delete", "true")]);
        assert!(!kept.read_only);
    }

    #[test]
    fn of_ro_and_rw_the_later_counts() {
        assert!(sorted(&["rw", "nosuid,ro"]).read_only);
        assert!(!sorted(&["ro,rw"]).read_only);
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_a_sentence() {
        let said =
            |text: &str| MountOptions::sort(&[text.to_owned()], false).unwrap_err().to_string();
        assert!(said("remount,ro").contains("unmount it and mount it again"));
        assert!(said("allow_other").contains("his alone"));
        assert!(said("a=\"b").contains("quote"));
    }

    #[test]
    fn with_sloppy_what_nobody_knows_is_passed_over_wherever_it_stands() {
        let kept = sorted(&["colour=red,mode=full,prefix=a", "sloppy", "node.a.ssh=b,context=x"]);
        let names: Vec<_> = kept.settings.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["mode", "prefix", "node.a.ssh"]);
        let kept = sorted(&["nosymfollow,context=x"]);
        assert_eq!(kept.settings.len(), 2, "left for the configuration to refuse by name");
    }
}
