//! `medusafs check`: everything that a backup and a restore need, each finding with its remedy.

use std::time::Duration;

use serde::Serialize;

use crate::cluster::{Finding, HostShare, Looked, Purpose, Severity, survey};
use crate::model::{ByteSize, Clock, JobId, JobKind, SystemClock};
use crate::store::{BlockingPool, PoolLimits};
use crate::tasks::Scope;

use super::settings::{Settings, reach};
use super::{ConfigArgs, Exit, Failure, Output};

/// How long agents may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// What was found, for programs.
#[derive(Debug, Serialize)]
struct Checked {
    cluster: Option<String>,
    release: Option<String>,
    nodes: Vec<String>,
    findings: Vec<Finding>,
}

/// Looks at everything.
pub(super) async fn check(config: &ConfigArgs, json: bool, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    settings.must_have_cluster()?;
    settings.check_key()?;
    let store = settings.store()?;
    let layout = settings.layout()?;
    let scope = Scope::new();
    let job = JobId::new(SystemClock.now(), JobKind::Backup, "check")
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let reach = reach(&settings, job, &scope)?;
    let memory = settings.memory(&store, &layout)?;
    let here = HostShare::new(store, layout, BlockingPool::new(PoolLimits::default()));
    let mut looked = Box::pin(survey(&reach, &memory, &here, &Purpose::Backup(None))).await;
    if let Some(survey) = &looked.survey {
        let of_nodetool = survey.nodetool_on_others(&scope).await;
        let of_contact = survey.contact_at_its_address(&reach).await;
        looked.findings.extend(of_nodetool.into_iter().chain(of_contact));
        looked.findings.extend(survey.leftovers());
    }
    let ignored = settings.config.ignored();
    looked.findings.extend(ignored.iter().map(|one| Finding::warning(None, one.to_string(), "")));
    looked.findings.sort_by_key(|finding| finding.severity);
    let told = tell(&looked, json, output).and_then(|()| verdict(&looked));
    // The agents end when nobody holds a line to them any more.
    drop(looked);
    scope.close(GRACE).await;
    told
}

fn errors(looked: &Looked) -> usize {
    looked.findings.iter().filter(|one| one.severity == Severity::Error).count()
}

fn verdict(looked: &Looked) -> Result<(), Failure> {
    let failed = |what: &str| Err(Failure::new(Exit::Unwished, what));
    match errors(looked) {
        _ if !looked.is_reached => {
            Err(Failure::new(Exit::Unreachable, "no contact point could be reached"))
        }
        0 if looked.survey.is_some() => Ok(()),
        0 => failed("the cluster could not be looked at"),
        1 => failed("one thing stands against a backup"),
        errors => failed(&format!("{errors} things stand against a backup")),
    }
}

fn tell(looked: &Looked, json: bool, output: Output) -> Result<(), Failure> {
    if json {
        let survey = looked.survey.as_ref();
        return output.json(&Checked {
            cluster: survey.map(|survey| survey.cluster_name.clone()),
            release: survey.map(|survey| survey.release_version.clone()),
            nodes: survey
                .map(|survey| survey.ring.keys().map(ToString::to_string).collect())
                .unwrap_or_default(),
            findings: looked.findings.clone(),
        });
    }
    if let Some(survey) = &looked.survey {
        output.line(format!(
            "cluster {:?}, Cassandra {}, {} nodes",
            survey.cluster_name,
            survey.release_version,
            survey.ring.len()
        ))?;
        for (name, node) in &survey.ring {
            let agent = survey.reached.get(name).map_or("not reached", |_| "ssh, sudo, agent ok");
            let share = survey.share.facts.get(name).map_or_else(
                || "share not seen".to_owned(),
                |share| {
                    format!("share {}, {} free", share.file_system, ByteSize(share.available_bytes))
                },
            );
            output.line(format!(
                "  {name} ({}): {} {}/{}, {agent}, {share}",
                node.address,
                node.status_letters(),
                node.datacenter,
                node.rack
            ))?;
        }
    }
    for finding in &looked.findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let node = finding.node.as_ref().map(|node| format!("{node}: ")).unwrap_or_default();
        output.line(format!("{word}: {node}{}", finding.what))?;
        if !finding.remedy.is_empty() {
            output.line(format!("  -> {}", finding.remedy))?;
        }
    }
    if looked.is_reached && errors(looked) == 0 {
        output.line("nothing stands against a backup")?;
    }
    Ok(())
}
