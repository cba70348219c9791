//! Taking back what was staged, as long as Cassandra was not touched.

use crate::cluster::Reached;
use crate::model::Fqdn;

use super::finish::of_job;
use super::{Context, Record};

/// Takes back what was staged; Cassandra has not been touched. Returns whether nothing of it is left:
/// what stays is said by the journal, which does not say then that it is gone.
pub(super) async fn take_back(cx: &Context, node: &Fqdn, target: &Reached) -> bool {
    if let Err(error) = target.agent.restore_abort(cx.board.folder().id()).await {
        // It is refused too where nothing was staged, or the node has taken it back by itself.
        let left = target.agent.restore_journal().await.map(|reports| of_job(cx, reports));
        if !matches!(left, Ok(None)) {
            cx.board.log(&format!("{node}: taking back the stage: {}", error.in_words()));
            return false;
        }
    }
    is_taken_back(cx, node);
    true
}

/// Takes back the stage of a node that was told to swap and has left Cassandra alone, as where it
/// could not be stopped. Returns whether nothing of it is left.
pub(super) async fn take_back_if_untouched(cx: &Context, node: &Fqdn, target: &Reached) -> bool {
    match target.agent.restore_journal().await.map(|reports| of_job(cx, reports)) {
        Ok(Some(report)) if report.is_untouched() => take_back(cx, node, target).await,
        Ok(None) => {
            is_taken_back(cx, node);
            true
        }
        Ok(Some(_)) | Err(_) => false,
    }
}

/// Writes down that nothing of this job is on the node.
pub(super) fn is_taken_back(cx: &Context, node: &Fqdn) {
    if let Err(error) = cx.write(Record::TakenBack { node: node.clone() }) {
        cx.board.log(&format!("{node}: that the stage is gone is not written down: {error}"));
    }
}
