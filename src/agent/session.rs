//! One conversation: what was asked, what was done on this node, and how it is taken back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::ask_nodetool;
use super::backup_lock::BackupLock;
use super::error::AgentError;
use super::facts::{data_directories, facts, read_yaml};
use super::place::BackupPlace;
use super::protocol::{
    Cleared, Fault, FaultKind, Hello, Reply, Request, ShareWritten, SharedNonces, Withdrawn,
};
use super::publish::publish;
use super::restore_side::RestoreSide;
use super::serve::Handler;
use super::share::{nonce_key, probe, read_nonces, write_nonce};
use super::snapshot::Snapshots;
use super::task::{Cancelled, Task, on_a_thread};
use super::upload::upload;
use crate::cassandra::Nodetool;
use crate::medusa::Layout;
use crate::model::{BackupName, Clock, Fqdn, ObjectKey};
use crate::observe::ErrorChain;
use crate::store::{BlockingPool, PoolLimits, Store};

/// For a few small calls to the share.
const SHARE_LIMIT: Duration = Duration::from_secs(30);

/// How long a share may let nothing get on of work that is called off and takes back what it did,
/// before the agent lets go of it.
const LET_GO: Duration = Duration::from_secs(10);

/// How often it is looked whether work on the share gets on.
const LOOK: Duration = Duration::from_secs(1);

/// The agent's side of a conversation.
pub(super) struct Session {
    clock: Arc<dyn Clock>,
    node: OnceCell<Arc<Node>>,
    pool: BlockingPool,
    /// What is to be taken back at the end.
    mine: Mutex<Mine>,
}

/// What the first request said, and what follows from it.
struct Node {
    hello: Hello,
    layout: Layout,
    nodetool: Nodetool,
    data: Vec<PathBuf>,
    snapshots: Snapshots,
    store: OnceCell<Store>,
    /// Held by the request that works on a backup: one at a time.
    turn: tokio::sync::Mutex<()>,
    /// This agent's own directory for temporary files, when no backup's node name says which.
    scratch: ObjectKey,
    restore: RestoreSide,
}

/// On the share: files, and directories with all that is in them.
#[derive(Default)]
struct Mine {
    files: BTreeSet<ObjectKey>,
    directories: BTreeSet<ObjectKey>,
}

impl Session {
    /// A session in which nothing has been asked.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let pool = BlockingPool::new(PoolLimits { threads: 4, hung: 8, queue: 64 });
        Self { clock, node: OnceCell::new(), pool, mine: Mutex::default() }
    }

    fn node(&self) -> Result<&Arc<Node>, AgentError> {
        self.node.get().ok_or_else(|| {
            AgentError::wrong(FaultKind::OutOfOrder, "the first request is to be a hello", "")
        })
    }

    async fn hello(&self, hello: Hello) -> Result<Reply, Fault> {
        let (path, known) = (hello.cassandra_yaml.clone(), hello.storage_directory.clone());
        let (yaml, storage, data) = on_a_thread("yaml", move || {
            let (yaml, storage) = read_yaml(&path, known.as_deref())?;
            let data = data_directories(&yaml)?;
            Ok((yaml, storage, data))
        })
        .await?;
        let layout = Layout::new(hello.prefix.as_deref()).map_err(|error| {
            let what = ErrorChain(&error).to_string();
            AgentError::wrong(FaultKind::Settings, what, "correct [storage] prefix")
        })?;
        let nodetool = ask_nodetool::nodetool(&hello.nodetool);
        let (of, tools, clock) = (hello.clone(), nodetool.clone(), Arc::clone(&self.clock));
        let (yaml, restore) = on_a_thread("restores", move || {
            let restore = RestoreSide::new(tools, &of, &yaml, clock);
            Ok((yaml, restore))
        })
        .await?;
        let scratch = format!("agent-{:016x}", rand::random::<u64>());
        let node = Node {
            scratch: layout
                .temporary(&hello.job)
                .and_then(|job| job.join(&scratch))
                .map_err(AgentError::from)?,
            restore,
            store: OnceCell::new(),
            turn: tokio::sync::Mutex::default(),
            snapshots: Snapshots::new(nodetool.clone(), data.clone()),
            hello: hello.clone(),
            layout,
            nodetool,
            data,
        };
        let seen = facts(&hello, &yaml, storage, &node.data).await?;
        if self.node.set(Arc::new(node)).is_err() {
            let what = "a hello was said already";
            return Err(AgentError::wrong(FaultKind::OutOfOrder, what, "").into());
        }
        Ok(seen.into())
    }

    /// Small work on the share, which may hang.
    async fn on_the_share<T, W>(&self, doing: &str, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T, AgentError> + Send + 'static,
    {
        let done = self.pool.run(SHARE_LIMIT, doing, work).await.map_err(AgentError::from)?;
        Ok(done?)
    }

    async fn store(&self, node: &Node) -> Result<Store, Fault> {
        let open = || {
            let root = node.hello.store.clone();
            self.on_the_share("for the share to open", move || Ok(Store::open(&root)?))
        };
        node.store.get_or_try_init(open).await.cloned()
    }

    /// Where a backup goes. Its temporary files have a directory for each node, for the nodes of one
    /// job share the job's, and in it one for each agent: one that goes removes its own alone.
    async fn place(
        &self,
        node: &Node,
        fqdn: &Fqdn,
        backup: &BackupName,
    ) -> Result<BackupPlace, Fault> {
        let job = node.layout.temporary(&node.hello.job);
        let temporary = job.and_then(|job| job.join(fqdn.as_str())).map_err(AgentError::from)?;
        let own = node.scratch.file_name();
        let drafts = temporary.join(own).map_err(AgentError::from)?;
        self.mine.lock().directories.insert(drafts.clone());
        Ok(BackupPlace {
            store: self.store(node).await?,
            layout: node.layout.clone(),
            temporary,
            drafts,
            node: fqdn.clone(),
            backup: backup.clone(),
        })
    }

    async fn answer(&self, request: Request, task: &Task) -> Result<Reply, Fault> {
        let node = self.node().cloned();
        match request {
            Request::Hello(hello) => self.hello(hello).await,
            Request::AskNodetool(wished) => {
                Ok(ask_nodetool::ask(&node?.nodetool, wished).await.into())
            }
            Request::ShareWrite(request) => self.leave_nonce(&*node?, request.nonce).await,
            Request::ShareRead(request) => {
                let node = node?;
                let (store, layout) = (self.store(&node).await?, node.layout.clone());
                let read = move || read_nonces(&store, &layout, &request.nonces);
                let found = self.on_the_share("for the share to show nonces", read).await?;
                Ok(SharedNonces { found }.into())
            }
            Request::ShareProbe(_) => {
                let node = node?;
                let (store, scratch) = (self.store(&node).await?, node.scratch.clone());
                self.mine.lock().directories.insert(scratch.clone());
                let probe = move || probe(&store, &scratch);
                Ok(self.on_the_share("for the share to take a probe", probe).await?.into())
            }
            Request::Snapshot(request) => Ok(node?.snapshots.take(&request, task).await?.into()),
            Request::Clear(request) => {
                let directories = node?.snapshots.clear(&request.tag, task).await?;
                Ok(Cleared { directories }.into())
            }
            Request::Upload(request) => {
                let node = node?;
                let place = self.place(&node, &request.node, &request.backup).await?;
                let (data, taken) =
                    (node.data.clone(), node.snapshots.content(&request.tag, task).await?);
                let work = move |place: &_, task: &_| upload(place, &data, taken, &request, task);
                Ok(alone(&node, "upload", place, task, work).await?.into())
            }
            Request::Publish(request) => {
                let node = node?;
                let place = self.place(&node, &request.node, &request.backup).await?;
                let work = move |place: &_, task: &_| publish(place, &request, task);
                Ok(alone(&node, "publish", place, task, work).await?.into())
            }
            Request::Withdraw(request) => {
                let node = node?;
                let place = self.place(&node, &request.node, &request.backup).await?;
                let files = alone(&node, "withdraw", place, task, BackupPlace::withdraw).await?;
                Ok(Withdrawn { files }.into())
            }
            Request::Restore(request) => {
                Ok(Reply::Restore(node?.restore.handle(request, task).await?))
            }
        }
    }

    async fn leave_nonce(&self, node: &Node, nonce: String) -> Result<Reply, Fault> {
        let store = self.store(node).await?;
        let (layout, scratch) = (node.layout.clone(), node.scratch.clone());
        let key = nonce_key(&layout, &nonce)?;
        {
            let mut mine = self.mine.lock();
            mine.files.insert(key);
            mine.directories.insert(scratch.clone());
        }
        let write = move || write_nonce(&store, &layout, &scratch, &nonce);
        let clock = self.on_the_share("for the share to take a nonce", write).await?;
        Ok(ShareWritten { clock }.into())
    }

    /// Removes what this conversation left on the share and nobody needs.
    async fn clean_share(&self, store: Store) {
        let Mine { files, directories } = std::mem::take(&mut *self.mine.lock());
        let clean = move || {
            for key in files {
                match store.remove(&key) {
                    Err(error) if !error.is_not_found() => return Err(error.into()),
                    _ => {}
                }
            }
            for key in directories {
                store.remove_tree(&key)?;
            }
            Ok(())
        };
        if let Err(fault) = self.on_the_share("for the share to be cleaned", clean).await {
            warn!(%fault, "temporary files are left on the share");
        }
    }
}

/// Does work on a backup that no other agent of this node may do at the same time, on a thread of
/// its own. What was begun before in this conversation is waited for as long as it gets on: taking
/// back many files takes long.
async fn alone<T, W>(
    node: &Node,
    name: &str,
    place: BackupPlace,
    task: &Task,
    work: W,
) -> Result<T, Fault>
where
    T: Send + 'static,
    W: FnOnce(&BackupPlace, &Task) -> Result<T, AgentError> + Send + 'static,
{
    let _turn = tokio::select! {
        turn = node.turn.lock() => turn,
        () = task.cancelled() => return Err(AgentError::from(Cancelled).into()),
    };
    let lock = BackupLock::take(&place, task).await?;
    let for_thread = task.clone();
    let work = on_a_thread(name, move || {
        // As long as the thread lives, which may be longer than anybody waits for it.
        let _lock = lock;
        Ok(work(&place, &for_thread)?)
    });
    while_it_gets_on(task, Duration::from_secs(node.hello.share_seconds), work).await
}

/// Waits for work on the share for as long as it gives signs of life. Once the request is cancelled
/// the work takes back what it did and ends by itself, or hangs: then it is left behind, for its
/// thread answers to nothing but the share.
async fn while_it_gets_on<T>(
    task: &Task,
    patience: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let hangs = |what: String| {
        let remedy = "see whether the share's server answers; what hangs ends when it does";
        Err(AgentError::wrong(FaultKind::ShareHangs, what, remedy).into())
    };
    tokio::pin!(work);
    let (mut seen, mut since, mut is_called_off) = (task.signs_of_life(), Instant::now(), false);
    loop {
        tokio::select! {
            answer = &mut work => return answer,
            () = task.cancelled(), if !is_called_off => {
                (is_called_off, since) = (true, Instant::now());
            }
            () = sleep(LOOK) => {}
        }
        if task.signs_of_life() != seen {
            (seen, since) = (task.signs_of_life(), Instant::now());
        } else if is_called_off && since.elapsed() >= LET_GO {
            return hangs("it was told to stop, and the share does not let it".to_owned());
        } else if !is_called_off && since.elapsed() >= patience {
            // When the share answers at last, nothing more is done there.
            task.cancel();
            return hangs(format!("the share lets nothing get on since {} s", patience.as_secs()));
        }
    }
}

#[async_trait]
impl Handler for Session {
    async fn handle(&self, request: Request, task: &Task) -> Result<Reply, Fault> {
        self.answer(request, task).await
    }

    async fn undo(&self) {
        let Some(node) = self.node.get() else { return };
        node.restore.is_over().await;
        node.snapshots.clear_all().await;
        if let Some(store) = node.store.get() {
            self.clean_share(store.clone()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::{Fixture, ORDERS, task};
    use crate::agent::protocol::Withdraw;
    use crate::model::SystemClock;

    /// A conversation of the fixture's job in which hello was said, and the share is open.
    async fn session(fixture: &Fixture) -> (Session, Arc<Node>) {
        let session = Session::new(Arc::new(SystemClock));
        session.answer(fixture.hello().into(), &task()).await.unwrap();
        let node = Arc::clone(session.node().unwrap());
        session.store(&node).await.unwrap();
        (session, node)
    }

    #[tokio::test]
    async fn an_agent_that_goes_removes_no_draft_of_the_one_that_came() {
        let fixture = Fixture::new();
        fixture.sstable(ORDERS, "nb-1-big", "rows");
        let BackupPlace { node: fqdn, backup, .. } = fixture.place("one");
        let (first, of_first) = session(&fixture).await;
        let (second, of_second) = session(&fixture).await;
        let old = first.place(&of_first, &fqdn, &backup).await.unwrap();
        let new = second.place(&of_second, &fqdn, &backup).await.unwrap();
        let _left = std::mem::ManuallyDrop::new(old.store.draft(&old.drafts).unwrap());
        let draft = new.store.draft(&new.drafts).unwrap();
        first.undo().await;
        draft.publish_new(&new.record().unwrap()).unwrap();
        second.undo().await;
        let stored = fixture.stored();
        assert_eq!(stored.keys().collect::<Vec<_>>(), [new.record().unwrap().as_str()]);
    }

    #[tokio::test]
    async fn a_withdrawal_waits_for_what_is_at_work_in_its_own_conversation() {
        let fixture = Fixture::new();
        fixture.sstable(ORDERS, "nb-1-big", "rows");
        let BackupPlace { node: fqdn, backup, .. } = fixture.place("one");
        let (session, node) = session(&fixture).await;
        let turn = node.turn.lock().await;
        tokio::time::pause();
        let ends = async {
            sleep(Duration::from_mins(10)).await;
            tokio::time::resume();
            drop(turn);
        };
        let (request, task) = (Withdraw { backup, node: fqdn }, task());
        let (answer, ()) = tokio::join!(session.answer(request.into(), &task), ends);
        assert_eq!(answer.unwrap(), Withdrawn { files: 0 }.into());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_gives_no_sign_of_life_is_given_up_and_told_to_stop() {
        let (task, begun) = (task(), Instant::now());
        let hung = std::future::pending::<Result<(), Fault>>();
        let fault = while_it_gets_on(&task, Duration::from_mins(1), hung).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::ShareHangs);
        assert!(fault.what.contains("60 s"), "{fault}");
        assert!(begun.elapsed() < Duration::from_secs(65), "{:?}", begun.elapsed());
        assert!(task.still_wanted().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_called_off_is_waited_for_as_long_as_its_taking_back_gets_on() {
        let (task, begun) = (task(), Instant::now());
        let takes_back = async {
            for _ in 0..100 {
                sleep(LET_GO / 2).await;
                task.lives();
            }
            std::future::pending::<Result<(), Fault>>().await
        };
        task.cancel();
        let fault = while_it_gets_on(&task, Duration::from_hours(1), takes_back).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::ShareHangs);
        assert!(begun.elapsed() >= 51 * LET_GO, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_gets_on_is_waited_for_however_long_it_takes() {
        let task = task();
        let slow = async {
            for _ in 0..100 {
                sleep(Duration::from_secs(50)).await;
                task.still_wanted().map_err(AgentError::from)?;
            }
            Ok(7)
        };
        assert_eq!(while_it_gets_on(&task, Duration::from_mins(1), slow).await, Ok(7));
    }
}
