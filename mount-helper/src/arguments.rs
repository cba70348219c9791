//! How mount(8) calls: `mount.medusafs SOURCE MOUNTPOINT [-sfnv] [-o OPTIONS] [-t TYPE]`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// What to print for wrong usage.
const USAGE: &str = "\
usage: mount.medusafs SOURCE MOUNTPOINT [-sfnv] [-o OPTIONS] [-t TYPE]
SOURCE is Medusa's configuration, such as /etc/medusa/medusa.ini, or the directory of a store to
look at. Called by mount -t medusafs, and for the lines of /etc/fstab with this type.";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Medusa's configuration or a store's directory, exactly as fstab has it.
    pub(crate) source: OsString,
    /// Where the tree is to appear.
    pub(crate) mountpoint: OsString,
    /// The texts behind each `-o`, as they were written: medusafs parts and judges them.
    pub(crate) options: Vec<String>,
    /// `-f`: everything but the mount.
    pub(crate) fake: bool,
    /// `-v`: say what is done.
    pub(crate) verbose: bool,
}

/// What stands on the command line, before it is understood.
#[derive(Default)]
struct Typed {
    places: Vec<OsString>,
    options: Vec<String>,
    sloppy: bool,
    fake: bool,
    verbose: bool,
}

impl Asked {
    /// Understands the arguments after the program's name.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with them; if they are no call of mount(8)'s, how that goes.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let usage = |what: String| format!("{what}\n{USAGE}");
        let Typed { places, mut options, sloppy, fake, verbose } =
            Typed::take(arguments).map_err(usage)?;
        let [source, mountpoint] = <[OsString; 2]>::try_from(places).map_err(|places| {
            usage(format!("two places are needed, {} were given", places.len()))
        })?;
        for (place, what) in [(&source, "source"), (&mountpoint, "mountpoint")] {
            if place.is_empty() {
                return Err(usage(format!("the {what} is empty")));
            }
        }
        options.retain(|text| !text.is_empty());
        if sloppy {
            options.push("sloppy".to_owned());
        }
        Ok(Self { source, mountpoint, options, fake, verbose })
    }

    /// The arguments for medusafs: a directory is a store to look at, all else a configuration.
    pub(crate) fn for_medusafs(&self) -> Vec<OsString> {
        let kind = if Path::new(&self.source).is_dir() { "--store" } else { "-c" };
        let mut arguments = vec!["mount".into(), kind.into(), self.source.clone()];
        // Never joined: a quote that is open in one would run into the next.
        for text in &self.options {
            arguments.extend(["-o".into(), text.into()]);
        }
        arguments.push(self.mountpoint.clone());
        arguments
    }
}

impl Typed {
    fn take(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut typed = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_bytes().strip_prefix(b"-") {
                Some(letters) if !letters.is_empty() => {
                    typed.letters(letters, &mut arguments)?;
                }
                _ => typed.places.push(argument),
            }
        }
        Ok(typed)
    }

    fn letters(
        &mut self,
        letters: &[u8],
        arguments: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        for (letter, behind) in letters.iter().zip(1..) {
            match letter {
                b's' => self.sloppy = true,
                b'f' => self.fake = true,
                b'v' => self.verbose = true,
                // No mtab is written in any case.
                b'n' => {}
                b'o' | b't' => {
                    let rest = letters.get(behind..).unwrap_or_default();
                    let value = if rest.is_empty() {
                        let name = char::from(*letter);
                        arguments.next().ok_or_else(|| format!("-{name} needs a value"))?
                    } else {
                        OsString::from_vec(rest.to_vec())
                    };
                    // The type is ours, or we would not have been called.
                    if *letter == b'o' {
                        self.options.push(utf8(&value)?);
                    }
                    return Ok(());
                }
                b'N' => return Err("a mount in another namespace (-N) is not supported yet".into()),
                _ => return Err(format!("-{} is unknown", String::from_utf8_lossy(letters))),
            }
        }
        Ok(())
    }
}

fn utf8(text: &OsStr) -> Result<String, String> {
    text.to_str().map(str::to_owned).ok_or_else(|| "the options are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Asked, String> {
        Asked::parse(line.iter().map(OsString::from))
    }

    /// What medusafs would be called with, blanks between.
    fn medusafs(line: &[&str]) -> String {
        let arguments = parse(line).unwrap().for_medusafs();
        arguments.join(OsStr::new(" ")).into_string().unwrap()
    }

    const INI: &str = "/etc/medusa/medusa.ini";

    #[test]
    fn the_source_is_handed_on_exactly_as_fstab_has_it() {
        assert_eq!(medusafs(&[INI, "/mnt", "-o", "rw"]), format!("mount -c {INI} -o rw /mnt"));
        let odd = "/etc//medusa/./medusa.ini ";
        assert_eq!(medusafs(&[odd, "/mnt"]), format!("mount -c {odd} /mnt"));
    }

    #[test]
    fn a_directory_is_a_store_to_look_at() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().to_str().unwrap();
        assert_eq!(medusafs(&[store, "/mnt"]), format!("mount --store {store} /mnt"));
    }

    #[test]
    fn each_text_of_options_goes_on_as_it_is_wherever_it_stands() {
        let called = format!("mount -c {INI} -o mode=full,a=\"b -o memory=1GB,x-y /mnt");
        assert_eq!(medusafs(&[INI, "/mnt", "-o", "mode=full,a=\"b", "-omemory=1GB,x-y"]), called);
        let line = ["-o", "mode=full,a=\"b", INI, "-o", "", "-no", "memory=1GB,x-y", "/mnt"];
        assert_eq!(medusafs(&line), called);
    }

    #[test]
    fn the_letters_of_mount_8_are_taken_alone_and_together() {
        let asked = parse(&["-snfv", INI, "/mnt", "-t", "fuse.medusafs"]).unwrap();
        assert!(asked.fake && asked.verbose);
        let asked = parse(&[INI, "/mnt", "-s", "-o", "colour=red,ro"]).unwrap();
        assert_eq!(asked.options, ["colour=red,ro", "sloppy"]);
    }

    #[test]
    fn wrong_usage_is_told() {
        assert!(parse(&[INI]).unwrap_err().contains("1 were given"));
        assert!(parse(&[INI, "/mnt", "/more"]).unwrap_err().contains("3 were given"));
        assert!(parse(&["", "/mnt"]).unwrap_err().contains("source is empty"));
        assert!(parse(&[INI, "/mnt", "-o"]).unwrap_err().contains("-o needs a value"));
        assert!(parse(&[INI, "/mnt", "-x"]).unwrap_err().contains("-x is unknown"));
        assert!(parse(&[INI, "/mnt", "-N", "1"]).unwrap_err().contains("namespace"));
    }
}
