//! nodetool, asked on the node itself: JMX listens there only.

use std::time::Duration;

use super::nodetool_error::NodetoolError;
use super::process::{Finished, ProcessError, Program};
use super::ring::{ClusterDescription, NodeInfo, RingMember};
use crate::config::{NodetoolPassword, NodetoolSettings, Secret};

/// Where Cassandra's packages and tarballs put nodetool. A login that is no login shell often has
/// none of them in its `PATH`.
const USUAL_DIRECTORIES: [&str; 7] = [
    "/usr/bin",
    "/usr/local/bin",
    "/opt/cassandra/bin",
    "/usr/share/cassandra/bin",
    "/opt/apache-cassandra/bin",
    "/usr/local/cassandra/bin",
    "/opt/dse/bin",
];

/// What nodetool reads the password from: a pipe that lives as long as it does, so that no file
/// with a password is left, whatever is killed.
const PASSWORD_FILE: &str = "/dev/stdin";

/// nodetool, with its options. Each question costs a Java start: a second, some on a busy node.
#[derive(Debug, Clone)]
pub struct Nodetool {
    settings: NodetoolSettings,
}

impl Nodetool {
    /// Asks as `settings` say. A password reaches nodetool by its standard input.
    pub fn new(settings: NodetoolSettings) -> Self {
        Self { settings }
    }

    /// `status`: the ring as this node sees it, by address.
    pub async fn status(&self, deadline: Duration) -> Result<Vec<RingMember>, NodetoolError> {
        let stdout = self.run(&["status"], deadline).await?;
        RingMember::parse_status(&stdout).map_err(|error| self.garbled("status", error))
    }

    /// `info -T`: this node's place in the ring.
    pub async fn info(&self, deadline: Duration) -> Result<NodeInfo, NodetoolError> {
        let stdout = self.run(&["info", "-T"], deadline).await?;
        NodeInfo::parse(&stdout).map_err(|error| self.garbled("info -T", error))
    }

    /// `describecluster`: whether schemas agree.
    pub async fn describe_cluster(
        &self,
        deadline: Duration,
    ) -> Result<ClusterDescription, NodetoolError> {
        let stdout = self.run(&["describecluster"], deadline).await?;
        ClusterDescription::parse(&stdout).map_err(|error| self.garbled("describecluster", error))
    }

    /// `version`: the release that runs, such as `5.0.6`.
    pub async fn version(&self, deadline: Duration) -> Result<String, NodetoolError> {
        let stdout = self.run(&["version"], deadline).await?;
        let version = stdout.lines().find_map(|line| line.strip_prefix("ReleaseVersion:"));
        version
            .map(|version| version.trim().to_owned())
            .ok_or_else(|| self.garbled("version", "there is no line ReleaseVersion".to_owned()))
    }

    /// `statusbinary`: whether clients are served.
    pub async fn serves_clients(&self, deadline: Duration) -> Result<bool, NodetoolError> {
        let stdout = self.run(&["statusbinary"], deadline).await?;
        Ok(stdout.lines().any(|line| line.trim() == "running"))
    }

    /// Takes a snapshot of every table under `tag`, which must be new. With `ttl` (Cassandra 4.1
    /// and later, at least a minute) Cassandra clears it by itself if nobody does.
    ///
    /// That nodetool says yes does not make a snapshot: look at what lies on the disk.
    pub async fn snapshot(
        &self,
        tag: &str,
        ttl: Option<Duration>,
        deadline: Duration,
    ) -> Result<(), NodetoolError> {
        let ttl = ttl.map(|ttl| format!("{}s", ttl.as_secs()));
        let mut arguments = vec!["snapshot", "-t", tag];
        if let Some(ttl) = &ttl {
            arguments.extend(["--ttl", ttl]);
        }
        self.run(&arguments, deadline).await.map(drop)
    }

    /// Removes the snapshot `tag` from every table; one that is not there is well removed.
    pub async fn clear_snapshot(&self, tag: &str, deadline: Duration) -> Result<(), NodetoolError> {
        // Cassandra before 4.0 takes no tag for every tag there is.
        if tag.is_empty() {
            return Err(NodetoolError::Failed {
                asked: "clearsnapshot".to_owned(),
                status: None,
                said: "no tag was given, which would clear every snapshot".to_owned(),
            });
        }
        self.run(&["clearsnapshot", "-t", tag], deadline).await.map(drop)
    }

    /// `drain`: everything is flushed, and nothing is taken any more. Only a stop follows.
    pub async fn drain(&self, deadline: Duration) -> Result<(), NodetoolError> {
        self.run(&["drain"], deadline).await.map(drop)
    }

    /// Any other command: its stdout.
    ///
    /// # Errors
    ///
    /// Cassandra not running, starting, or refusing the password are told apart from a command
    /// that failed. An exit status of 0 is no proof that the command did anything.
    pub async fn run(
        &self,
        arguments: &[&str],
        deadline: Duration,
    ) -> Result<String, NodetoolError> {
        let asked = || arguments.join(" ");
        let (options, password) = self.options()?;
        let executable = self.settings.executable.clone();
        let words = [executable.clone()]
            .into_iter()
            .chain(options)
            .chain(arguments.iter().map(|word| (*word).to_owned()));
        // What it says of failures is matched by its English text.
        let program = Program::new(words).env("LC_ALL", "C").stdin(password);
        let finished = match program.clone().run(deadline).await {
            Err(ProcessError::Absent(name)) if !executable.contains('/') => {
                let usual = USUAL_DIRECTORIES.iter().map(|bin| format!("{bin}/{executable}"));
                let found = usual.into_iter().find(|path| std::path::Path::new(path).is_file());
                let path = found.ok_or(NodetoolError::Absent(name))?;
                program.at(path).run(deadline).await
            }
            Err(ProcessError::Absent(name)) => return Err(NodetoolError::Absent(name)),
            other => other,
        };
        let finished =
            finished.map_err(|source| NodetoolError::NoAnswer { asked: asked(), source })?;
        if finished.success() { Ok(finished.stdout) } else { Err(self.why(&asked(), &finished)) }
    }

    /// Medusa's order: flags, `--ssl`, `-u`, `-pwf`, `-h`, `-p`; and what nodetool reads.
    fn options(&self) -> Result<(Vec<String>, String), NodetoolError> {
        let NodetoolSettings { flags, ssl, username, password, host, port, .. } = &self.settings;
        let (mut options, mut stdin) = (flags.clone(), String::new());
        if *ssl {
            options.push("--ssl".to_owned());
        }
        if let Some(user) = username {
            options.extend(["-u".to_owned(), user.clone()]);
            let path = match password {
                Some(NodetoolPassword::Given(password)) => {
                    stdin = password_line(user, password)?;
                    Some(PASSWORD_FILE.to_owned())
                }
                Some(NodetoolPassword::File(path)) => Some(path.to_string_lossy().into_owned()),
                None => None,
            };
            options.extend(path.into_iter().flat_map(|path| ["-pwf".to_owned(), path]));
        }
        if let Some(host) = host {
            options.extend(["-h".to_owned(), host.clone()]);
        }
        if let Some(port) = port {
            options.extend(["-p".to_owned(), port.to_string()]);
        }
        Ok((options, stdin))
    }

    fn why(&self, asked: &str, finished: &Finished) -> NodetoolError {
        NodetoolError::of(asked, self.settings.username.as_deref(), finished)
    }

    fn garbled(&self, asked: &str, what: String) -> NodetoolError {
        let executable = self.settings.executable.clone();
        NodetoolError::Garbled { asked: asked.to_owned(), executable, what }
    }
}

/// As nodetool's file has it, whose words are parted by blanks.
fn password_line(user: &str, password: &Secret) -> Result<String, NodetoolError> {
    let unfit = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
    if unfit(user) || unfit(password.expose()) {
        return Err(NodetoolError::UnfitPassword);
    }
    Ok(format!("{user} {}\n", password.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use test_case::test_case;

    const LONG: Duration = Duration::from_secs(20);

    /// A nodetool that does what `script` says.
    fn nodetool(directory: &Path, script: &str) -> NodetoolSettings {
        let path = directory.join("nodetool");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        NodetoolSettings {
            executable: path.to_str().unwrap().to_owned(),
            flags: vec!["-Dcom.sun.jndi.rmiURLParsing=legacy".to_owned()],
            ssl: false,
            username: None,
            password: None,
            host: None,
            port: None,
        }
    }

    #[tokio::test]
    async fn options_come_in_medusa_s_order_and_the_password_never_among_them() {
        let directory = tempfile::tempdir().unwrap();
        let script = "echo \"$@\"; cat \"$6\"";
        let settings = NodetoolSettings {
            ssl: true,
            username: Some("jmx".to_owned()),
            password: Some(NodetoolPassword::Given(Secret::new("s3cret"))),
            host: Some("127.0.0.1".to_owned()),
            port: Some(7199),
            ..nodetool(directory.path(), script)
        };
        let tool = Nodetool::new(settings);
        let stdout = tool.run(&["snapshot", "-t", "x"], LONG).await.unwrap();
        let mut lines = stdout.lines();
        assert_eq!(
            lines.next().unwrap().split(' ').collect::<Vec<_>>(),
            [
                "-Dcom.sun.jndi.rmiURLParsing=legacy",
                "--ssl",
                "-u",
                "jmx",
                "-pwf",
                "/dev/stdin",
                "-h",
                "127.0.0.1",
                "-p",
                "7199",
                "snapshot",
                "-t",
                "x"
            ]
        );
        assert_eq!(lines.collect::<Vec<_>>(), ["jmx s3cret"]);
    }

    #[tokio::test]
    async fn a_password_file_of_the_operator_s_is_used_as_it_is_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jmx.password");
        fs::write(&file, "jmx s3cret").unwrap();
        let settings = NodetoolSettings {
            username: Some("jmx".to_owned()),
            password: Some(NodetoolPassword::File(file.clone())),
            ..nodetool(directory.path(), "cat \"$5\"")
        };
        let tool = Nodetool::new(settings);
        assert_eq!(tool.run(&["version"], LONG).await.unwrap(), "jmx s3cret");
        assert!(file.exists());
    }

    #[test_case("jmx", "two words"; "blank in the password")]
    #[test_case("jmx", "line\nend"; "line end in the password")]
    #[test_case("a b", "x"; "blank in the user")]
    #[test_case("jmx", ""; "empty")]
    fn a_password_that_nodetool_would_read_otherwise_is_refused(user: &str, password: &str) {
        let error = password_line(user, &Secret::new(password)).unwrap_err();
        assert!(matches!(error, NodetoolError::UnfitPassword));
    }

    #[tokio::test]
    async fn a_nodetool_that_is_nowhere_is_an_error_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let settings = NodetoolSettings {
            executable: "nodetool-that-is-nowhere".to_owned(),
            ..nodetool(directory.path(), "")
        };
        let error = Nodetool::new(settings).version(LONG).await.unwrap_err();
        assert!(matches!(error, NodetoolError::Absent(_)), "{error}");
    }

    #[tokio::test]
    async fn the_version_is_found_among_other_lines() {
        let directory = tempfile::tempdir().unwrap();
        let settings = nodetool(directory.path(), "echo WARN; echo 'ReleaseVersion: 5.0.6'");
        let tool = Nodetool::new(settings);
        assert_eq!(tool.version(LONG).await.unwrap(), "5.0.6");
    }

    #[tokio::test]
    async fn clearing_without_a_tag_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let tool = Nodetool::new(nodetool(directory.path(), ""));
        assert!(tool.clear_snapshot("", LONG).await.is_err());
    }
}
