//! The typed settings of `medusa.ini`, with the checks that are about more than one key.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::model::Fqdn;

use super::Secret;
use super::origin::Place;
use super::resolver::Resolver;
use super::settings::{
    CassandraSettings, ChecksSettings, CqlTls, Credentials, NodetoolPassword, NodetoolSettings,
    SshSettings, StorageSettings,
};

const DAY: Duration = Duration::from_hours(24);

/// Medusa's other providers; `s3` is the beginning of several.
const OTHER_PROVIDERS: [&str; 4] = ["google_storage", "azure_blobs", "ibm_storage", "s3"];

fn days(count: u64) -> Duration {
    DAY.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Settings of `[storage]`; `whole` is the file, for what lacks.
pub(super) fn storage(resolver: &mut Resolver<'_>, whole: &Place) -> StorageSettings {
    provider(resolver, whole);
    let bucket_name = bucket(resolver, whole);
    if resolver.setting("storage", "base_path").is_some_and(|setting| setting.text.is_none()) {
        let what = "it is missing; a local store needs the path of its share, such as /mnt/backup";
        resolver.problem(whole.clone(), "[storage] base_path", what);
    }
    let base_path = resolver.path("storage", "base_path").unwrap_or_default();
    let age = resolver.count("storage", "max_backup_age");
    let count = resolver.count("storage", "max_backup_count");
    let host_file_separator = resolver.must_text("storage", "host_file_separator");
    if host_file_separator.is_empty() && resolver.is_read("storage", "host_file_separator") {
        let place = resolver.place("storage", "host_file_separator");
        resolver.problem(place, "[storage] host_file_separator", "it is empty; a comma is usual");
    }
    StorageSettings {
        base_path,
        bucket_name,
        prefix: prefix(resolver),
        fqdn: fqdn(resolver),
        max_backup_age: (age > 0).then(|| days(age)),
        max_backup_count: (count > 0).then_some(count),
        backup_grace_period: days(resolver.count("storage", "backup_grace_period_in_days")),
        concurrent_transfers: resolver.width("storage", "concurrent_transfers"),
        host_file_separator,
    }
}

fn provider(resolver: &mut Resolver<'_>, whole: &Place) {
    const ABOUT: &str = "[storage] storage_provider";
    match resolver.text("storage", "storage_provider") {
        None => resolver.problem(whole.clone(), ABOUT, "it is missing; right would be local"),
        Some(text) => {
            let lower = text.to_lowercase();
            if lower != "local" && !OTHER_PROVIDERS.iter().any(|other| lower.starts_with(other)) {
                let place = resolver.place("storage", "storage_provider");
                let what = format!("{text:?} is no provider of Medusa's; right would be local");
                resolver.unsupported = None;
                resolver.problem(place, ABOUT, what);
            }
        }
    }
}

fn bucket(resolver: &mut Resolver<'_>, whole: &Place) -> String {
    const ABOUT: &str = "[storage] bucket_name";
    let place = resolver.place("storage", "bucket_name");
    let known = resolver.setting("storage", "bucket_name").is_some_and(|s| s.text.is_some());
    let Some(name) = resolver.text("storage", "bucket_name") else {
        if !known {
            let what = "it is missing; it is the store's directory in base_path";
            resolver.problem(whole.clone(), ABOUT, what);
        }
        return String::new();
    };
    if name.is_empty() {
        resolver
            .warn(place, "bucket_name is empty, so the store is base_path itself, in Medusa too");
    } else if name.contains('/') {
        let what = format!(
            "{name:?} holds a slash, at which Medusa stops; the directories above belong to base_path"
        );
        resolver.problem(place, ABOUT, what);
    } else if let Err(error) = Fqdn::parse(&name) {
        resolver.problem(place, ABOUT, error.to_string());
    }
    name
}

fn prefix(resolver: &mut Resolver<'_>) -> Option<String> {
    const ABOUT: &str = "[storage] prefix";
    let place = resolver.place("storage", "prefix");
    let prefix = resolver.text("storage", "prefix")?;
    if prefix.contains('/') {
        let what = format!("{prefix:?} holds a slash, at which Medusa stops; it is one name");
        resolver.problem(place, ABOUT, what);
    } else if prefix.chars().count() < 2 {
        let what = format!(
            "{prefix:?} is one character, with which Medusa puts data below the prefix and its index \
             beside it; take at least two"
        );
        resolver.problem(place, ABOUT, what);
    } else if let Err(error) = Fqdn::parse(&prefix) {
        resolver.problem(place, ABOUT, error.to_string());
    }
    Some(prefix)
}

/// The name that Medusa is told for its own host.
pub(super) fn fqdn(resolver: &mut Resolver<'_>) -> Option<Fqdn> {
    let place = resolver.place("storage", "fqdn");
    let text = resolver.text("storage", "fqdn")?;
    match Fqdn::parse(&text) {
        Ok(fqdn) => Some(fqdn),
        Err(error) => {
            let what = format!("{error}; leave the key out to have the name computed");
            resolver.problem(place, "[storage] fqdn", what);
            None
        }
    }
}

/// Settings of `[cassandra]`.
pub(super) fn cassandra(resolver: &mut Resolver<'_>) -> CassandraSettings {
    const ME: &str = "cassandra";
    let (resolve_ip_addresses, resolve_own_name) = resolving(resolver);
    CassandraSettings {
        config_file: resolver.must_path(ME, "config_file"),
        start_cmd: command(resolver, "start_cmd"),
        stop_cmd: command(resolver, "stop_cmd"),
        use_sudo: resolver.flag(ME, "use_sudo"),
        resolve_ip_addresses,
        resolve_own_name,
        nodetool: nodetool(resolver),
        cql: cql(resolver),
        cql_tls: cql_tls(resolver),
    }
}

/// Whether Medusa names other nodes, and a node itself, by reverse look-up.
pub(super) fn resolving(resolver: &mut Resolver<'_>) -> (bool, bool) {
    const ME: &str = "cassandra";
    let others = resolver.flag(ME, "resolve_ip_addresses");
    let spelled = resolver.setting(ME, "resolve_ip_addresses").and_then(|s| s.text.clone());
    // Medusa: `HostnameResolver.resolve_fqdn` compares the text, everyone else evaluates it.
    let own = spelled.as_deref() != Some("False");
    if own && !others {
        let what = "resolve_ip_addresses is off for other nodes, but not for a node's own name: for \
                    that Medusa knows only the spelling False, so its backups miss nodes for ever";
        resolver.warn(resolver.place(ME, "resolve_ip_addresses"), what);
    }
    (others, own)
}

fn command(resolver: &mut Resolver<'_>, name: &str) -> Vec<String> {
    let words = resolver.words("cassandra", name);
    let shell = |word: &String| {
        matches!(word.as_str(), "&&" | "||" | "|" | "&" | ">" | ">>" | "<" | ";")
            || (word.ends_with(';') && !word.starts_with('-'))
    };
    if let Some(word) = words.iter().find(|word| shell(word)) {
        let what = format!(
            "{name}: {word:?} means nothing, since no shell reads the command, in Medusa's \
             restore-node neither; put it into sh -c '…' if it is meant for one"
        );
        resolver.warn(resolver.place("cassandra", name), what);
    }
    words
}

fn nodetool(resolver: &mut Resolver<'_>) -> NodetoolSettings {
    const ME: &str = "cassandra";
    let executable = resolver.must_text(ME, "nodetool_executable");
    if executable.is_empty() && resolver.is_read(ME, "nodetool_executable") {
        let place = resolver.place(ME, "nodetool_executable");
        resolver.problem(
            place,
            "[cassandra] nodetool_executable",
            "it is empty; nodetool is usual",
        );
    }
    let ssl = resolver.setting(ME, "nodetool_ssl").and_then(|setting| setting.text.clone());
    if ssl
        .as_ref()
        .is_some_and(|text| matches!(text.to_lowercase().as_str(), "true" | "yes" | "on" | "1"))
        && ssl.as_deref() != Some("true")
    {
        let what = "nodetool_ssl is off, in Medusa too: it knows only the spelling true";
        resolver.warn(resolver.place(ME, "nodetool_ssl"), what);
    }
    let mut username = resolver.text(ME, "nodetool_username");
    let mut password = resolver.secret(ME, "nodetool_password");
    if let Some(found) = kubernetes_secret(resolver, "nodetool_k8s_secrets_path") {
        (username, password) = (Some(found.username), Some(found.password));
    }
    let file = resolver.path(ME, "nodetool_password_file_path");
    let mut password = match (password, file) {
        // nodetool takes -pw before -pwf.
        (Some(given), _) => Some(NodetoolPassword::Given(given)),
        (None, file) => file.map(NodetoolPassword::File),
    };
    if username.is_none() && password.take().is_some() {
        let what = "a password for nodetool has no effect without nodetool_username, nodetool itself \
                    leaves it out";
        let given = ["nodetool_password", "nodetool_password_file_path"].into_iter();
        let place =
            given.map(|name| resolver.place(ME, name)).find(|place| *place != Place::Default);
        resolver.warn(place.unwrap_or(Place::Default), what);
    }
    let port = resolver.number(ME, "nodetool_port").and_then(|port| u16::try_from(port).ok());
    NodetoolSettings {
        executable,
        flags: resolver.words(ME, "nodetool_flags"),
        ssl: ssl.as_deref() == Some("true"),
        username,
        password,
        host: resolver.text(ME, "nodetool_host"),
        port,
    }
}

fn cql(resolver: &mut Resolver<'_>) -> Option<Credentials> {
    const ME: &str = "cassandra";
    if let Some(found) = kubernetes_secret(resolver, "cql_k8s_secrets_path") {
        return Some(found);
    }
    let username = resolver.text(ME, "cql_username");
    let password = resolver.secret(ME, "cql_password");
    match (username, password) {
        (Some(username), Some(password)) => Some(Credentials { username, password }),
        (None, None) => None,
        (username, _) => {
            let (given, lacks) = match username {
                Some(_) => ("cql_username", "cql_password"),
                None => ("cql_password", "cql_username"),
            };
            let what = format!("{given} has no effect without {lacks}, in Medusa too");
            resolver.warn(resolver.place(ME, given), what);
            None
        }
    }
}

fn cql_tls(resolver: &mut Resolver<'_>) -> Option<CqlTls> {
    const ME: &str = "cassandra";
    let certfile = resolver.path(ME, "certfile");
    let usercert = resolver.path(ME, "usercert");
    let userkey = resolver.path(ME, "userkey");
    let lacks = match (&certfile, &usercert, &userkey) {
        (_, Some(_), None) => Some(("usercert", "userkey")),
        (_, None, Some(_)) => Some(("userkey", "usercert")),
        (None, Some(_), Some(_)) => Some(("usercert", "certfile")),
        _ => None,
    };
    if let Some((given, lacks)) = lacks {
        let what = format!("{given} has no effect without {lacks}, in Medusa too");
        resolver.warn(resolver.place(ME, given), what);
    }
    Some(CqlTls { certfile: certfile?, client: usercert.zip(userkey) })
}

/// What Kubernetes puts into a directory as `username` and `password`; Medusa prefers it to all.
fn kubernetes_secret(resolver: &mut Resolver<'_>, name: &str) -> Option<Credentials> {
    let directory = resolver.path("cassandra", name)?;
    let read = |directory: &Path, file: &str| {
        let path = directory.join(file);
        fs::read_to_string(&path)
            .map(|text| text.trim().to_owned())
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let pair = read(&directory, "username")
        .and_then(|username| Ok((username, read(&directory, "password")?)));
    match pair {
        Ok((username, password)) => Some(Credentials { username, password: Secret::new(password) }),
        Err(what) => {
            let place = resolver.place("cassandra", name);
            resolver.problem(place, format!("[cassandra] {name}"), what);
            None
        }
    }
}

/// Settings of `[ssh]`.
pub(super) fn ssh(resolver: &mut Resolver<'_>) -> SshSettings {
    const ME: &str = "ssh";
    let seconds = resolver.count(ME, "keepalive_seconds");
    let key_file = resolver.path(ME, "key_file");
    let cert_file = resolver.path(ME, "cert_file");
    if cert_file.is_some() && key_file.is_none() {
        let what = "cert_file has no effect without the key_file that it is for";
        resolver.warn(resolver.place(ME, "cert_file"), what);
    }
    SshSettings {
        username: resolver.text(ME, "username"),
        key_file,
        cert_file,
        port: u16::try_from(resolver.count(ME, "port")).unwrap_or_default(),
        keepalive: (seconds > 0).then(|| Duration::from_secs(seconds)),
        login_shell: resolver.flag(ME, "login_shell"),
    }
}

/// Settings of `[checks]`.
pub(super) fn checks(resolver: &mut Resolver<'_>) -> ChecksSettings {
    const ME: &str = "checks";
    let rows = resolver.count(ME, "expected_rows");
    ChecksSettings {
        query: resolver.text(ME, "query"),
        expected_rows: (rows > 0).then_some(rows),
        expected_result: resolver.text(ME, "expected_result"),
    }
}
