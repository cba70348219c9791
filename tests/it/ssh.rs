//! `medusafs::ssh` against OpenSSH's own server: what is promised of a connection, and what
//! happens when the other side hangs, hangs up, or is somebody else.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use medusafs::model::SystemClock;
use medusafs::ssh::{Connection, Exit, Remote, RemoteCommand, SshErrorKind, Stage};
use medusafs::tasks::Scope;
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::support::sshd::{SOON, Sshd, eventually, lives, open, refused, run, succeed};

fn sh(script: &str) -> RemoteCommand {
    RemoteCommand::new(["sh", "-c", script])
}

#[tokio::test]
async fn a_program_gets_its_arguments_and_input_and_gives_its_output_and_status() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let script = "cat; printf '%s|' \"$@\"; echo complaint >&2; exit 3";
    let command =
        RemoteCommand::new(["sh", "-c", script, "sh", "it's", "a b", "\\\\", "!", "\n$x"]);
    let output = connection.run(&command, Bytes::from("input "), SOON).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "input it's|a b|\\\\|!|\n$x|");
    assert_eq!((output.exit, output.stderr), (Exit::Status(3), b"complaint\n".to_vec()));
    let killed = run(&connection, &["sh", "-c", "kill -KILL $$"]).await.unwrap();
    assert_eq!(killed.exit, Exit::Signal("KILL".to_owned()));
    let absent = run(&connection, &["nonexistent-program"]).await.unwrap();
    assert_eq!(absent.exit, Exit::Status(127));
    connection.close().await;
    let closed = run(&connection, &["true"]).await.unwrap_err();
    assert_eq!(closed.kind, SshErrorKind::Lost);
}

#[tokio::test]
async fn much_goes_both_ways_whole() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let content: Vec<u8> = (0..12_000_000_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    let command = RemoteCommand::new(["cat"]);
    let output = connection.run(&command, Bytes::from(content.clone()), SOON).await.unwrap();
    assert!(output.stdout == content, "{} bytes came back", output.stdout.len());
    let unread = RemoteCommand::new(["true"]);
    let output = connection.run(&unread, Bytes::from(content), SOON).await.unwrap();
    assert!(output.exit.success());
    let endless = run(&connection, &["yes"]).await.unwrap_err();
    assert_eq!(endless.kind, SshErrorKind::TooMuch);
}

#[tokio::test]
async fn what_start_up_files_print_is_not_in_the_output() {
    let noise =
        "ForceCommand echo Welcome; printf more; echo oops >&2; eval \"$SSH_ORIGINAL_COMMAND\"";
    let sshd = Sshd::start(noise);
    let output = run(&open(sshd.target()).await, &["echo", "own"]).await.unwrap();
    assert_eq!((output.stdout, output.stderr), (b"own\n".to_vec(), Vec::new()));
}

#[tokio::test]
async fn another_program_s_output_is_never_taken_for_ours() {
    let sshd = Sshd::start("ForceCommand echo This account is currently not available.");
    let error = run(&open(sshd.target()).await, &["echo", "own"]).await.unwrap_err();
    assert_eq!(error.kind, SshErrorKind::NotOurs);
    assert!(error.message.contains("said: This account is currently not available."), "{error}");
}

#[tokio::test]
async fn a_login_shell_reads_its_profile_before_the_program() {
    // HOME is the account's; the profile is reached through a shell of the test's own.
    let own = tempfile::tempdir().unwrap();
    let (home, shell) = (own.path(), own.path().join("shell"));
    fs::write(home.join(".profile"), "echo noise; export WORD=profile\n").unwrap();
    fs::write(&shell, format!("#!/bin/sh\nHOME={} exec /bin/sh \"$@\"\n", home.display())).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let force =
        format!("ForceCommand SHELL={} exec sh -c \"$SSH_ORIGINAL_COMMAND\"", shell.display());
    let sshd = Sshd::start(&force);
    let mut target = sshd.target();
    target.login_shell = true;
    let output = run(&open(target).await, &["printenv", "WORD"]).await.unwrap();
    assert_eq!(output.stdout, b"profile\n", "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_in_though_the_host_cuts_some_short() {
    // From the third unauthenticated connection on, half are cut; from the tenth, all.
    let sshd = Sshd::start("MaxStartups 2:50:10");
    let tasks = Scope::new();
    let target = sshd.target();
    let opening: Vec<_> = (0..12)
        .map(|_| {
            let target = target.clone();
            tasks.spawn(async move { Connection::open(target, &SystemClock).await })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn more_sessions_than_the_host_allows_are_an_error_and_no_end() {
    let sshd = Sshd::start("MaxSessions 1");
    let connection = open(sshd.target()).await;
    let first = connection.start(&RemoteCommand::new(["cat"]), SOON).await.unwrap();
    let error = run(&connection, &["true"]).await.unwrap_err();
    assert_eq!(error.kind, SshErrorKind::Busy, "{error}");
    drop(first);
    let again = async {
        loop {
            match run(&connection, &["true"]).await {
                Ok(output) => return output,
                Err(error) => assert_eq!(error.kind, SshErrorKind::Busy, "{error}"),
            }
        }
    };
    assert!(tokio::time::timeout(SOON, again).await.unwrap().exit.success());
}

#[tokio::test]
async fn a_started_program_is_spoken_with_and_ends_with_its_input() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let script = "echo ready; while read -r line; do echo \"got $line\"; done; echo over; exit 5";
    let mut process = connection.start(&sh(script), SOON).await.unwrap();
    let mut line = String::new();
    process.stdout.read_line(&mut line).await.unwrap();
    for word in ["one", "two"] {
        process.stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        process.stdout.read_line(&mut line).await.unwrap();
    }
    drop(process.stdin);
    process.stdout.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "ready\ngot one\ngot two\nover\n");
    assert_eq!(process.stdout.exit().await.unwrap(), Exit::Status(5));
}

#[tokio::test]
async fn what_nobody_reads_stops_no_other_and_is_ended_when_it_is_too_much() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; read x";
    let chatty = connection.start(&sh(script), SOON).await.unwrap();
    assert_eq!(run(&connection, &["echo", "on"]).await.unwrap().stdout, b"on\n");
    drop(chatty);
    let mut flood = connection.start(&RemoteCommand::new(["yes"]), SOON).await.unwrap();
    let ended = tokio::time::timeout(SOON, flood.stdout.exit()).await.unwrap().unwrap_err();
    assert_eq!(ended.kind, SshErrorKind::TooMuch);
    assert_eq!(run(&connection, &["echo", "on"]).await.unwrap().stdout, b"on\n");
}

/// A program that writes its pid to `file` and ignores its input.
fn stubborn(file: &std::path::Path) -> RemoteCommand {
    sh(&format!("echo $$ > {0}.new && mv {0}.new {0} && exec sleep 1000", file.display()))
}

#[tokio::test]
async fn a_program_that_nobody_waits_for_any_more_is_ended() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let pid = |name: &str| fs::read_to_string(sshd.path(name)).unwrap().trim().to_owned();

    let command = stubborn(&sshd.path("timed"));
    let error = connection.run(&command, Bytes::new(), Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(error.kind, SshErrorKind::TimedOut);
    eventually("the program that timed out ends", || !lives(&pid("timed"))).await;

    let process = connection.start(&stubborn(&sshd.path("dropped")), SOON).await.unwrap();
    eventually("it runs", || sshd.path("dropped").exists()).await;
    assert!(lives(&pid("dropped")));
    drop(process);
    eventually("the program whose output was dropped ends", || !lives(&pid("dropped"))).await;

    let _process = connection.start(&stubborn(&sshd.path("closed")), SOON).await.unwrap();
    eventually("it runs", || sshd.path("closed").exists()).await;
    connection.close().await;
    eventually("the program of a closed connection ends", || !lives(&pid("closed"))).await;
}

#[tokio::test]
async fn a_daemon_left_behind_does_not_hold_up_the_end() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let begun = Instant::now();
    let output = run(&connection, &["sh", "-c", "sleep 60 & echo $!"]).await.unwrap();
    assert!(output.exit.success() && begun.elapsed() < SOON);
    let daemon = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(lives(&daemon), "it was meant to stay");
    succeed("kill", &[&daemon]);
}

#[tokio::test]
async fn a_host_that_hangs_is_given_up_in_time_whatever_was_under_way() {
    let sshd = Sshd::start("");
    let connection = Arc::new(open(sshd.target()).await);
    let mut started = connection.start(&RemoteCommand::new(["cat"]), SOON).await.unwrap();
    let tasks = Scope::new();
    let upload = {
        // A fifo that nobody reads: the far end takes what fits, and the window closes.
        let fifo = sshd.path("fifo");
        succeed("mkfifo", &[fifo.to_str().unwrap()]);
        let command = sh(&format!("exec sleep 1000 <>{}", fifo.display()));
        let connection = Arc::clone(&connection);
        tasks.spawn(async move {
            connection.run(&command, Bytes::from(vec![0; 32 << 20]), SOON * 3).await
        })
    };
    // It has been open for long enough to be stuck when a later call on it is answered.
    run(&connection, &["true"]).await.unwrap();
    sshd.signal(Signal::SIGSTOP, false);
    let begun = Instant::now();
    let silent = run(&connection, &["true"]).await.unwrap_err();
    assert_eq!(silent.kind, SshErrorKind::Lost, "{silent}");
    assert!(silent.message.contains("silent"), "{silent}");
    assert_eq!(upload.await.unwrap().unwrap().unwrap_err().kind, SshErrorKind::Lost);
    let mut line = String::new();
    assert!(started.stdout.read_line(&mut line).await.is_err());
    assert_eq!(started.stdout.exit().await.unwrap_err().kind, SshErrorKind::Lost);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    connection.close().await;
    sshd.signal(Signal::SIGCONT, false);
}

#[tokio::test]
async fn a_program_that_does_not_read_is_given_up_by_who_writes() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let mut deaf = connection.start(&RemoteCommand::new(["sleep", "1000"]), SOON).await.unwrap();
    let error = deaf.stdin.write_all(&vec![0; 64 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    assert!(run(&connection, &["true"]).await.unwrap().exit.success());
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_end_of_output() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let mut process = connection.start(&sh("echo half; read x"), SOON).await.unwrap();
    let mut line = String::new();
    process.stdout.read_line(&mut line).await.unwrap();
    sshd.signal(Signal::SIGKILL, false);
    let error = process.stdout.read_line(&mut line).await.unwrap_err();
    assert!(error.to_string().contains("the connection broke"), "{error}");
    assert_eq!(run(&connection, &["true"]).await.unwrap_err().kind, SshErrorKind::Lost);
}

#[tokio::test]
async fn who_does_not_answer_is_given_up_at_the_stage_that_it_came_to() {
    let sshd = Sshd::start("");
    let mut target = sshd.target();
    target.patience.login = Duration::from_secs(1);
    sshd.signal(Signal::SIGSTOP, true);
    let error = refused(target.clone()).await;
    assert_eq!((error.kind, error.stage), (SshErrorKind::TimedOut, Stage::Connect), "{error}");
    sshd.signal(Signal::SIGCONT, true);

    // A port that nobody listens on any more.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    target.port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refused(target.clone()).await;
    assert_eq!((error.kind, error.stage), (SshErrorKind::Unreachable, Stage::Connect), "{error}");

    target.host = "no-such-host.invalid".to_owned();
    target.patience.login = SOON;
    let error = refused(target).await;
    assert_eq!((error.kind, error.stage), (SshErrorKind::Unreachable, Stage::Resolve), "{error}");
}

#[tokio::test]
async fn what_is_no_sshd_is_called_so() {
    let sshd = Sshd::start("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut target = sshd.target();
    target.port = listener.local_addr().unwrap().port();
    let web = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 16];
        stream.read_exact(&mut asked).unwrap();
        // More than any line of a greeting may have, and none of it a greeting.
        let junk = "HTTP/1.1 400 Bad Request ".repeat(10_000);
        // It may have hung up on us already.
        drop(stream.write_all(junk.as_bytes()));
    });
    target.patience.login = Duration::from_secs(3);
    let error = refused(target).await;
    assert!(
        matches!(
            error.kind,
            SshErrorKind::Refused
                | SshErrorKind::Busy
                | SshErrorKind::TimedOut
                | SshErrorKind::Unreachable
        ),
        "{error}"
    );
    assert_eq!(error.stage, Stage::Connect);
    web.join().unwrap();
}

#[tokio::test]
async fn an_upload_is_whole_with_its_mode_and_replaces_what_was_there() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let path = sshd.path("agent it's");
    let content = Bytes::from(vec![0x7f; 5 << 20]);
    for (content, mode) in [(Bytes::from("old"), 0o600), (content, 0o700), (Bytes::new(), 0o644)] {
        connection.upload(content.clone(), path.to_str().unwrap(), mode, SOON).await.unwrap();
        assert!(fs::read(&path).unwrap() == content);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
    }
    let nowhere = "/nonexistent/agent";
    let error = connection.upload(Bytes::new(), nowhere, 0o600, SOON).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (SshErrorKind::Failed, Stage::Upload));
    assert!(error.message.contains(nowhere), "{error}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let sshd = Sshd::start("");
    let connection = Arc::new(open(sshd.target()).await);
    let directory = sshd.path("target");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("agent").to_str().unwrap().to_owned();
    let tasks = Scope::new();
    let uploading = {
        let (connection, path) = (Arc::clone(&connection), path.clone());
        tasks.spawn(async move {
            let content = Bytes::from(vec![1; 512 << 20]);
            connection.upload(content, &path, 0o700, SOON * 3).await
        })
    };
    let has_begun = || {
        let mut entries = fs::read_dir(&directory).unwrap();
        entries.any(|entry| entry.unwrap().metadata().is_ok_and(|file| file.len() > 1 << 20))
    };
    eventually("some of it has come", has_begun).await;
    sshd.signal(Signal::SIGKILL, false);
    assert_eq!(uploading.await.unwrap().unwrap().unwrap_err().kind, SshErrorKind::Lost);
    let empty = || fs::read_dir(&directory).unwrap().next().is_none();
    eventually("what was half is removed", empty).await;
}

#[tokio::test]
async fn a_port_is_reached_through_the_host_or_said_to_be_closed() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
    });
    let mut tunnel = connection.tunnel("127.0.0.1", port, SOON).await.unwrap();
    tunnel.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    // To the end: the far side hangs up after its answer.
    tokio::time::timeout(SOON, tunnel.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "hello");
    echo.join().unwrap();
    let error = connection.tunnel("127.0.0.1", port, SOON).await.err().unwrap();
    assert_eq!((error.kind, error.stage), (SshErrorKind::Refused, Stage::Tunnel), "{error}");

    let sshd = Sshd::start("AllowTcpForwarding no");
    let connection = open(sshd.target()).await;
    let error = connection.tunnel("127.0.0.1", sshd.port(), SOON).await.err().unwrap();
    assert!(error.message.contains("AllowTcpForwarding"), "{error}");
}

#[tokio::test]
async fn a_dropped_tunnel_hangs_up() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read(&mut [0; 8]).unwrap()
    });
    let tunnel = connection.tunnel("127.0.0.1", port, SOON).await.unwrap();
    drop(tunnel);
    assert_eq!(tokio::time::timeout(SOON, served).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn sudo_is_probed_on_the_host_itself() {
    let sshd = Sshd::start("");
    let connection = open(sshd.target()).await;
    let user = sshd.target().user;
    let command = RemoteCommand::new(["true"]);
    let probed = medusafs::ssh::probe_sudo(&connection, &user, &command, SOON).await.unwrap();
    let theirs = run(&connection, &["sudo", "-n", "true"]).await.unwrap().exit.success();
    assert_eq!(probed.is_ok(), theirs, "{probed:?}");
}
