//! A real sshd of the test's own: on a loopback port, with its own keys, gone with all its
//! children when dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use medusafs::model::SystemClock;
use medusafs::ssh::{
    Connection, Identity, Output as RemoteOutput, Patience, Remote, RemoteCommand, SshError, Target,
};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

/// How long a test waits for what must happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// An sshd that listens.
pub(crate) struct Sshd {
    directory: TempDir,
    port: u16,
    listener: Child,
}

#[expect(clippy::disallowed_methods, reason = "a test runs OpenSSH's own programs")]
fn command(program: &str) -> Command {
    Command::new(program)
}

/// A connection that must be had.
pub(crate) async fn open(target: Target) -> Connection {
    Connection::open(target, &SystemClock).await.unwrap()
}

/// Why there is none.
pub(crate) async fn refused(target: Target) -> SshError {
    Connection::open(target, &SystemClock).await.unwrap_err()
}

/// Runs a program without input.
pub(crate) async fn run(connection: &Connection, argv: &[&str]) -> Result<RemoteOutput, SshError> {
    let command = RemoteCommand::new(argv.iter().copied());
    connection.run(&command, Bytes::new(), SOON).await
}

/// Runs a program of OpenSSH's that must succeed.
pub(crate) fn succeed(program: &str, arguments: &[&str]) -> Output {
    let output = command(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output
}

/// Hashes the names in a known_hosts file. False if ssh-keygen does not like a line of it.
pub(crate) fn hash(known_hosts: &Path) -> bool {
    let mut hash = command("ssh-keygen");
    hash.arg("-q").arg("-H").arg("-f").arg(known_hosts).output().unwrap().status.success()
}

/// A key pair at `path` and `path.pub`.
pub(crate) fn key_pair(path: &Path, arguments: &[&str]) {
    let path = path.to_str().unwrap();
    succeed("ssh-keygen", &[&["-q", "-N", "", "-f", path][..], arguments].concat());
}

impl Sshd {
    /// With host keys of three types, a user key in `user_key` (PEM RSA, as Medusa wants it), and
    /// these lines besides in its configuration, where `HERE` is its directory.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_with(more, |_directory| {})
    }

    /// The same; `prepare` may change what lies in its directory before it starts.
    pub(crate) fn start_with(more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        key_pair(&at("host_ed25519"), &["-t", "ed25519"]);
        key_pair(&at("host_rsa"), &["-t", "rsa", "-b", "2048"]);
        key_pair(&at("host_ecdsa"), &["-t", "ecdsa"]);
        key_pair(&at("user_key"), &["-t", "rsa", "-b", "2048", "-m", "PEM"]);
        fs::copy(at("user_key.pub"), at("authorized_keys")).unwrap();
        prepare(directory.path());
        if geteuid().is_root() {
            // Its empty directory for dropped privileges, which the package makes at boot.
            fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").unwrap();
        }
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut sshd = Self::spawn(more, &directory, port);
            if answers(&mut sshd, port) {
                return Self { directory, port, listener: sshd };
            }
            // Somebody else has taken the port meanwhile.
            sshd.kill().unwrap();
            sshd.wait().unwrap();
        }
    }

    fn spawn(more: &str, directory: &TempDir, port: u16) -> Child {
        let at = directory.path().display();
        // The first value of a key counts, so `more` comes first. bash reads ~/.bashrc when sshd
        // starts it, and what the machine's own account has there is not the tests'.
        let more = more.replace("HERE", &at.to_string());
        let config = format!(
            "{more}\nListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host_ed25519\n\
             HostKey {at}/host_rsa\nHostKey {at}/host_ecdsa\nAuthorizedKeysFile {at}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPidFile none\nUseDNS no\nMaxStartups 100\n\
             SetEnv HOME={at}\nLogLevel ERROR\n"
        );
        let file = directory.path().join("sshd_config");
        fs::write(&file, config).unwrap();
        command("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(fs::File::create(directory.path().join("sshd.log")).unwrap())
            .spawn()
            .unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A host's public key as known_hosts has it: type and base64.
    pub(crate) fn public_key(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// Writes a known_hosts file. `PORT`, `ED25519`, `RSA` and `ECDSA` stand for what they are.
    pub(crate) fn known_hosts(&self, text: &str) -> PathBuf {
        let text = text
            .replace("PORT", &self.port.to_string())
            .replace("ED25519", &self.public_key("host_ed25519"))
            .replace("ECDSA", &self.public_key("host_ecdsa"))
            .replace("RSA", &self.public_key("host_rsa"));
        let file = self.path("known_hosts");
        fs::write(&file, text).unwrap();
        file
    }

    /// This sshd, with its key known and little patience.
    pub(crate) fn target(&self) -> Target {
        Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: User::from_uid(geteuid()).unwrap().unwrap().name,
            identity: Identity::File { key: self.path("user_key"), certificate: None },
            known_hosts: vec![self.known_hosts("[127.0.0.1]:PORT ED25519\n")],
            login_shell: false,
            patience: Patience {
                login: SOON,
                keepalive: Duration::from_millis(300),
                silence: Duration::from_secs(3),
                write: Duration::from_secs(3),
            },
        }
    }

    /// What OpenSSH's own client says to the same known_hosts: whether it trusts the host.
    pub(crate) fn openssh_trusts(&self, known_hosts: &Path) -> bool {
        let target = self.target_with(known_hosts);
        let output = command("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "GlobalKnownHostsFile=/dev/null"])
            .args(["-o", "UpdateHostKeys=no", "-o", "ConnectTimeout=20"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-i")
            .arg(self.path("user_key"))
            .args(["-p", &self.port.to_string()])
            .arg(format!("{}@127.0.0.1", target.user))
            .arg("true")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() || said.contains("ost key verification failed"),
            "ssh failed for another reason: {output:?}"
        );
        output.status.success()
    }

    /// [`Self::target`] with another known_hosts file.
    pub(crate) fn target_with(&self, known_hosts: &Path) -> Target {
        let user = User::from_uid(geteuid()).unwrap().unwrap().name;
        Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user,
            identity: Identity::File { key: self.path("user_key"), certificate: None },
            known_hosts: vec![known_hosts.to_owned()],
            login_shell: false,
            patience: Patience { login: SOON, ..Patience::default() },
        }
    }

    /// Programs that outlived their session: their environment tells whose they were.
    fn orphans(&self) -> Vec<Pid> {
        let mark = format!(" 127.0.0.1 {}", self.port);
        let ours = |process: &Pid| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| {
                let variable = String::from_utf8_lossy(variable);
                variable.starts_with("SSH_CONNECTION=127.0.0.1 ") && variable.ends_with(&mark)
            })
        };
        processes().into_iter().map(|(process, _)| process).filter(ours).collect()
    }

    fn listener(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.listener.id()).unwrap())
    }

    /// Signals the processes that serve connections, and the listener too if `all`.
    pub(crate) fn signal(&self, signal: Signal, all: bool) {
        let mut processes = sshds_below(self.listener());
        if all {
            processes.push(self.listener());
        }
        for process in processes {
            send(process, signal);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let below = descendants(self.listener(), |_| true);
        self.listener.kill().unwrap();
        self.listener.wait().unwrap();
        for process in below.into_iter().chain(self.orphans()) {
            send(process, Signal::SIGKILL);
        }
    }
}

fn answers(sshd: &mut Child, port: u16) -> bool {
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        if sshd.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// One that has just ended is as good as signalled.
fn send(process: Pid, signal: Signal) {
    let sent = kill(process, signal);
    assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "{sent:?}");
}

/// Processes whose parent, or its parent and so on, is `ancestor`, and that are wanted.
fn descendants(ancestor: Pid, wanted: impl Fn(Pid) -> bool) -> Vec<Pid> {
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = processes().into_iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(child, _)| child));
    }
    found.into_iter().skip(1).filter(|process| wanted(*process)).collect()
}

fn sshds_below(listener: Pid) -> Vec<Pid> {
    descendants(listener, |process| {
        fs::read_to_string(format!("/proc/{process}/comm"))
            .is_ok_and(|name| name.trim_end().starts_with("sshd"))
    })
}

/// Every process and its parent.
fn processes() -> Vec<(Pid, Pid)> {
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    entries
        .filter_map(|name| name.to_str()?.parse().ok())
        .filter_map(|process: i32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((Pid::from_raw(process), Pid::from_raw(parent)))
        })
        .collect()
}

/// An ssh-agent with one key.
pub(crate) struct Agent(Child);

impl Agent {
    pub(crate) fn start(socket: &Path, key: &Path) -> Self {
        let mut start = command("ssh-agent");
        let agent = start.arg("-D").arg("-a").arg(socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self(agent);
        let until = Instant::now() + SOON;
        while !socket.exists() {
            assert!(Instant::now() < until, "no agent");
            std::thread::yield_now();
        }
        let mut add = command("ssh-add");
        let added = add.env("SSH_AUTH_SOCK", socket).arg("-q").arg(key).output().unwrap();
        assert!(added.status.success(), "{added:?}");
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Looks until something is so, for as long as a test waits.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !so() {
        assert!(Instant::now() < until, "never: {what}");
        look.tick().await;
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn lives(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}
