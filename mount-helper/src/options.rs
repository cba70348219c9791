//! The text behind `-o`: what is medusafs's, and what mount(8), fstab and systemd add.

/// Medusafs's own options, and those of a mount that it knows; `-s` drops all others.
pub(crate) const KNOWN: &[&str] = &[
    "agent_dir",
    "allow_delete",
    "allow_other",
    "allow_root",
    "backup",
    "backup_group",
    "bandwidth_node",
    "bandwidth_total",
    "cache_dir",
    "cache_size",
    "contact_points",
    "datacenters",
    "deadline",
    "default_permissions",
    "delete_group",
    "keep_last",
    "known_hosts",
    "medusa_writes_too",
    "memory",
    "mode",
    "node_store",
    "nodes_required",
    "parallel_nodes",
    "passthrough",
    "prefix",
    "read_group",
    "restore",
    "restore_group",
    "restore_hold",
    "share",
    "state_dir",
    "tls_host_name",
    "undo_keep",
];

/// Options that are for mount(8), fstab, systemd or a disk, and mean nothing to medusafs: when to
/// mount, who may, how times are kept on a file system that keeps none, how writes go out.
const NOT_FOR_US: &[&str] = &[
    "_netdev",
    "_rnetdev",
    "async",
    "atime",
    "auto",
    "comment",
    "defaults",
    "diratime",
    "dirsync",
    "fail",
    "helper",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "noauto",
    "nodiratime",
    "nofail",
    "nogroup",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nouser",
    "nousers",
    "relatime",
    "silent",
    "sloppy",
    "strictatime",
    "sync",
    "uhelper",
];

/// Flags of a mount that are handed on, each with the word that takes it back.
const FLAGS: &[(&str, &str)] =
    &[("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")];

/// Who else may mount, with the flags that come with it unless a later option takes them back.
const ALLOWING: &[(&str, &[&str])] = &[
    ("user", &["noexec", "nosuid", "nodev"]),
    ("users", &["noexec", "nosuid", "nodev"]),
    ("owner", &["nosuid", "nodev"]),
    ("group", &["nosuid", "nodev"]),
];

/// Gives the options that go on to medusafs, in their order and each as it was written.
///
/// Of two flags that take each other back the later counts. `sloppy` drops what is not known, as
/// mount(8)'s `-s` wishes; else it goes on, for medusafs to refuse it by name.
///
/// # Errors
///
/// In words: a quote that is not closed, or an option that asks for what cannot be done.
pub(crate) fn for_medusafs(text: &str, sloppy: bool) -> Result<Vec<String>, String> {
    let mut kept: Vec<String> = Vec::new();
    for option in split(text)? {
        let name = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
        if name == "remount" {
            return Err("a medusafs is not remounted; unmount it and mount it again; jobs go on \
                        meanwhile"
                .to_owned());
        }
        let private = name.starts_with("x-") || name.starts_with("X-");
        if name.is_empty() || private || NOT_FOR_US.contains(&name) {
            continue;
        }
        if let Some((_, flags)) = ALLOWING.iter().find(|(who, _)| *who == name) {
            for flag in *flags {
                set(&mut kept, flag);
            }
        } else if let Some((flag, _)) = FLAGS.iter().find(|(flag, _)| *flag == option) {
            set(&mut kept, flag);
        } else if let Some((flag, _)) = FLAGS.iter().find(|(_, back)| *back == option) {
            kept.retain(|set| set != flag);
        } else if !sloppy || KNOWN.contains(&name) || name.starts_with("node.") {
            kept.push(option);
        }
    }
    Ok(kept)
}

fn set(kept: &mut Vec<String>, flag: &str) {
    if !kept.iter().any(|set| set == flag) {
        kept.push(flag.to_owned());
    }
}

/// Parts options at their commas, but not at those between double quotes or behind a backslash.
/// Quotes and backslashes stay: whoever reads the option next needs them.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut options, mut option, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ',' if !quoted => options.push(std::mem::take(&mut option)),
            '\\' => {
                option.push(letter);
                option.extend(letters.next());
            }
            _ => {
                quoted ^= letter == '"';
                option.push(letter);
            }
        }
    }
    if quoted {
        return Err(format!("the options {text:?} have a quote that is not closed"));
    }
    options.push(option);
    Ok(options.into_iter().map(|option| option.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        for_medusafs(text, false).unwrap().join(",")
    }

    #[test]
    fn what_fstab_and_systemd_add_is_dropped() {
        let noise = "defaults,_netdev,nofail,noauto,auto,noatime,x-systemd.requires=nfs.mount,\
                     x-systemd.mount-timeout=90s,X-mount.mkdir=0755,comment=backups,rw,sync,,";
        assert_eq!(kept(noise), "");
        assert_eq!(kept(&format!("{noise},mode=full,nofail")), "mode=full");
    }

    #[test]
    fn flags_of_a_mount_go_on_once_and_the_later_of_two_counts() {
        assert_eq!(kept("ro,nosuid,ro"), "ro,nosuid");
        assert_eq!(kept("ro,rw,noexec"), "noexec");
        assert_eq!(kept("rw,ro"), "ro");
    }

    #[test]
    fn who_may_mount_brings_the_flags_that_mount_8_promises() {
        assert_eq!(kept("user"), "noexec,nosuid,nodev");
        assert_eq!(kept("users,exec"), "nosuid,nodev");
        assert_eq!(kept("exec,user=me"), "noexec,nosuid,nodev");
        assert_eq!(kept("owner"), "nosuid,nodev");
        assert_eq!(kept("nouser"), "");
    }

    #[test]
    fn a_comma_in_a_value_is_kept_with_what_protects_it() {
        let text = r#"contact_points="a,b",datacenters=x\,y,agent_dir="/a \" b,c",ro"#;
        assert_eq!(kept(text), text);
        assert!(for_medusafs(r#"contact_points="a,b"#, false).is_err());
    }

    #[test]
    fn an_option_that_nobody_knows_goes_on_unless_sloppy() {
        let text = "allow_delete,colour=red,node.db1.ssh=h:22,allow_other";
        assert_eq!(kept(text), text);
        let sloppy = for_medusafs(text, true).unwrap().join(",");
        assert_eq!(sloppy, "allow_delete,node.db1.ssh=h:22,allow_other");
    }

    #[test]
    fn a_remount_is_refused_with_what_to_do() {
        assert!(for_medusafs("remount,ro", false).unwrap_err().contains("unmount it"));
    }

    /// The two packages share no code, so that they agree is tested on their text.
    #[test]
    fn every_option_of_medusafs_is_known() {
        let table = include_str!("../../src/config/own_keys.rs");
        let names: Vec<&str> = table
            .split("own(\"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
            .collect();
        assert!(names.len() > 25, "{names:?}");
        for name in names {
            assert!(KNOWN.contains(&name), "{name}");
        }
    }
}
