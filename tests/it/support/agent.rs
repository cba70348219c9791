//! A node for an agent, and an agent's own process to talk with.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use medusafs::agent::protocol::{
    Ask, Conversation, Event, Fault, Hello, NodetoolSettings, Publish, RequestId, Snapshot,
    SnapshotTag, Upload,
};
use medusafs::medusa::Mode;
use medusafs::model::{BackupName, Fqdn, JobId, UnixSeconds};
use tempfile::TempDir;

/// However slow the machine is, nothing takes longer.
const DEADLINE: Duration = Duration::from_mins(1);

/// Links live files into snapshots as Cassandra does, and writes Cassandra's list of them. If there
/// is a file `says` beside it, it does nothing, says that and exits with the number in `status`.
const NODETOOL: &str = r#"#!/bin/sh
here=$(dirname "$0"); while [ $# -gt 0 ]; do case $1 in
  snapshot|clearsnapshot) verb=$1;; -t) tag=$2; shift;; esac; shift; done
echo "$verb $tag" >> "$here/asked"
if [ -e "$here/says" ]; then cat "$here/says" >&2; exit "$(cat "$here/status")"; fi
for table in "$here"/data*/*/*/; do
  to=${table}snapshots/$tag
  if [ "$verb" = clearsnapshot ]; then rm -rf "$to"; continue; fi
  mkdir -p "$to"; list=
  for file in "$table"*-*; do [ -f "$file" ] || continue
    ln "$file" "$to/"; case $file in *-Data.db) list="$list,\"${file##*/}\"";; esac; done
  echo "{\"files\":[${list#,}]}" > "$to/manifest.json"
done
"#;

/// A node's disk and a share, as directories.
pub(crate) struct AgentNode {
    folder: TempDir,
}

impl AgentNode {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Self { folder };
        fs::create_dir_all(node.store()).unwrap();
        let nodetool = node.path("nodetool");
        fs::write(&nodetool, NODETOOL).unwrap();
        fs::set_permissions(&nodetool, fs::Permissions::from_mode(0o755)).unwrap();
        let yaml = format!(
            "cluster_name: lab\ndata_file_directories: [{}]\nlisten_address: 127.0.0.1\n\
             commitlog_directory: /none\nsaved_caches_directory: /none\nhints_directory: /none\n",
            node.path("data").display()
        );
        fs::write(node.path("cassandra.yaml"), yaml).unwrap();
        node.write(
            "system_schema/tables-afddfb9dbc1e30688056eed6c302ba09",
            "nb-1-big-Data.db",
            100,
        );
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Puts a file of so many bytes into a live table.
    pub(crate) fn write(&self, table: &str, name: &str, bytes: usize) {
        let path = self.path("data").join(table).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let seed = name.len() + bytes;
        let content: Vec<u8> =
            (0..bytes).map(|at| (at.wrapping_mul(seed) >> 3).to_le_bytes()[0]).collect();
        fs::write(path, content).unwrap();
    }

    /// Has nodetool fail, in these words.
    pub(crate) fn nodetool_fails(&self, status: u8, says: &str) {
        fs::write(self.path("status"), status.to_string()).unwrap();
        fs::write(self.path("says"), says).unwrap();
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            job: JobId::parse("20261122T161400Z-backup-nightly").unwrap(),
            store: self.store(),
            prefix: None,
            cassandra_yaml: self.path("cassandra.yaml"),
            medusa_ini: self.path("medusa.ini"),
            resolve_ip_addresses: true,
            nodetool: NodetoolSettings {
                program: self.path("nodetool").to_str().unwrap().to_owned(),
                flags: vec!["-Dcom.sun.jndi.rmiURLParsing=legacy".to_owned()],
                username: None,
                password: None,
                password_file: None,
                host: None,
                port: None,
                ssl: false,
            },
            storage_directory: None,
            share_seconds: 60,
        }
    }

    pub(crate) fn snapshot() -> Snapshot {
        Snapshot { tag: tag(), ttl_seconds: None }
    }

    pub(crate) fn upload(mode: Mode) -> Upload {
        let (backup, node) = names();
        Upload { backup, node, mode, tag: tag(), threads: 4, bytes_per_second: 0 }
    }

    pub(crate) fn publish(mode: Mode) -> Publish {
        let (backup, node) = names();
        Publish {
            backup,
            node,
            mode,
            started: UnixSeconds(1_795_364_040),
            tokenmap: r#"{"node1": {"tokens": [0], "is_up": true, "rack": "r1", "dc": "dc1"}}"#
                .into(),
            schema: "CREATE KEYSPACE shop WITH replication = {};".into(),
            server_version: r#"{"server_type": "cassandra", "release_version": "5.0.6"}"#.into(),
        }
    }

    /// Directories of any snapshot that are left.
    pub(crate) fn snapshots_left(&self) -> Vec<PathBuf> {
        let files = below(&self.path("data"));
        files.into_keys().filter(|path| path.to_str().unwrap().contains("snapshots/")).collect()
    }

    /// Every file of the store with its content.
    pub(crate) fn stored(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        below(&self.store())
    }

    /// Every live file with its content.
    pub(crate) fn live(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = below(&self.path("data"));
        files.retain(|path, _| !path.to_str().unwrap().contains("snapshots/"));
        files
    }
}

pub(crate) fn tag() -> SnapshotTag {
    SnapshotTag::parse("medusafs-nightly").unwrap()
}

pub(crate) fn names() -> (BackupName, Fqdn) {
    (BackupName::for_new("nightly").unwrap(), Fqdn::parse("node1").unwrap())
}

fn below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A `medusafs agent` process. Dropped, it is killed.
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    talk: Conversation,
}

impl Agent {
    /// An agent that has said hello to `node`.
    pub(crate) fn on(node: &AgentNode) -> Self {
        let mut agent = Self::started(&[env!("CARGO_BIN_EXE_medusafs"), "agent"]);
        agent.ask(node.hello()).unwrap();
        agent
    }

    /// An agent that a command starts, before anything was said.
    #[expect(clippy::disallowed_methods, reason = "the test talks with the process itself")]
    pub(crate) fn started(command: &[&str]) -> Self {
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, events) = channel();
        std::thread::spawn(move || {
            let mut talk = Conversation::new();
            // It ends, and with it the pipe, at the first event that nobody waits for.
            for line in stdout.split(b'\n').map_while(Result::ok) {
                let event = talk.line(&line).unwrap();
                if event.is_some_and(|event| tell.send(event).is_err()) {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, events, talk: Conversation::new() }
    }

    /// Begins a request.
    pub(crate) fn begin<A: Ask>(&mut self, request: A) -> RequestId {
        let (id, line) = self.talk.request(request).unwrap();
        self.say(&line);
        id
    }

    pub(crate) fn cancel(&mut self, id: RequestId) {
        let line = self.talk.cancel(id).unwrap();
        self.say(&line);
    }

    fn say(&mut self, line: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(line).unwrap();
    }

    /// The next event but for heartbeats, which this answers.
    pub(crate) fn event(&mut self) -> Event {
        let until = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < until, "the agent says nothing");
            match self.events.recv_timeout(Duration::from_secs(1)) {
                Ok(Event::Heartbeat) | Err(RecvTimeoutError::Timeout) => {
                    let line = self.talk.heartbeat().unwrap();
                    self.say(&line);
                }
                Ok(event) => return event,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the agent is gone"),
            }
        }
    }

    /// Waits for a request's end.
    pub(crate) fn end<A: Ask>(&mut self, id: RequestId) -> Result<A::Answer, Fault> {
        loop {
            match self.event() {
                Event::Done { id: of, reply } if of == id => {
                    return Ok(A::Answer::try_from(reply).unwrap());
                }
                Event::Failed { id: of, fault } if of == id => return Err(fault),
                _ => {}
            }
        }
    }

    /// Asks and waits.
    pub(crate) fn ask<A: Ask>(&mut self, request: A) -> Result<A::Answer, Fault> {
        let id = self.begin(request);
        self.end::<A>(id)
    }

    /// Waits until something has been copied.
    pub(crate) fn copies(&mut self) {
        while !matches!(self.event(), Event::Progress { progress, .. } if progress.bytes_new > 0) {}
    }

    /// Goes away as a host does whose sshd sees the connection die: nobody reads what the agent
    /// writes or logs, or says anything. Waits for its end and tells its exit status.
    #[expect(
        clippy::disallowed_methods,
        reason = "no other way waits for a process and not for ever"
    )]
    pub(crate) fn lose_the_line(mut self) -> Option<i32> {
        drop(self.child.stderr.take());
        drop(std::mem::replace(&mut self.events, channel().1));
        drop(self.stdin.take());
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "the agent does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Says no more, as a connection that breaks, and waits for its end. Tells its exit status.
    pub(crate) fn hang_up(mut self) -> Option<i32> {
        drop(self.stdin.take());
        let until = Instant::now() + DEADLINE;
        while self.events.recv_timeout(DEADLINE).is_ok() {
            assert!(Instant::now() < until, "the agent does not end");
        }
        self.child.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
