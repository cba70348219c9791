//! Answering without ever making the kernel's thread wait, and without ever taking the mount down.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use tokio::runtime::Handle;
use tracing::Instrument;
use tracing::Span;

use crate::fs::FsError;
use crate::tasks::Scope;

/// Where calls that cannot be answered at once go on.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    runtime: Handle,
    scope: Scope,
}

/// A future whose panic is an error.
struct Caught<F>(Pin<Box<F>>);

impl<T, F: Future<Output = Result<T, FsError>>> Future for Caught<F> {
    type Output = Result<T, FsError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(FsError::Bug(said(panic.as_ref())))))
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

impl Answers {
    /// Tasks run on `runtime` and end with `scope`.
    pub(super) fn new(runtime: Handle, scope: Scope) -> Self {
        Self { runtime, scope }
    }

    /// Answers a call. What memory knows is answered before this returns; the rest moves to a
    /// task with its reply. A reply that is dropped, because the mount ends, reads as EIO.
    pub(super) fn give<T, F, R>(&self, span: Span, answer: F, reply: R)
    where
        T: Send + 'static,
        F: Future<Output = Result<T, FsError>> + Send + 'static,
        R: FnOnce(Result<T, FsError>) + Send + 'static,
    {
        let _runtime = self.runtime.enter();
        let mut answer = Caught(Box::pin(answer));
        let first = {
            let _inside = span.enter();
            // Nobody is woken: if it is not ready, the task polls it once more, with its own waker.
            Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop()))
        };
        match first {
            Poll::Ready(result) => reply(result),
            Poll::Pending => {
                let task = async move { reply(answer.await) };
                // It ends by itself or with its scope: nobody waits for this one.
                drop(self.scope.spawn(task.instrument(span)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn answers() -> (tokio::runtime::Runtime, Answers) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let answers = Answers::new(runtime.handle().clone(), Scope::new());
        (runtime, answers)
    }

    #[test]
    fn what_is_known_is_answered_by_the_calling_thread() {
        let (_runtime, answers) = answers();
        let (sender, receiver) = mpsc::channel();
        let me = std::thread::current().id();
        answers.give(Span::none(), async { Ok(7) }, move |answer| {
            sender.send((answer.unwrap(), std::thread::current().id())).unwrap();
        });
        assert_eq!(receiver.try_recv().unwrap(), (7, me));
    }

    #[test]
    fn what_has_to_wait_is_answered_by_another() {
        let (_runtime, answers) = answers();
        let (sender, receiver) = mpsc::channel();
        let (go, went) = tokio::sync::oneshot::channel::<()>();
        let slow =
            async move { went.await.map(|()| 7).map_err(|gone| FsError::Bug(gone.to_string())) };
        answers.give(Span::none(), slow, move |answer| sender.send(answer.unwrap()).unwrap());
        assert!(receiver.try_recv().is_err());
        go.send(()).unwrap();
        assert_eq!(receiver.recv().unwrap(), 7);
    }

    #[test]
    fn a_panic_at_once_or_later_is_an_error_of_the_call_alone() {
        let (_runtime, answers) = answers();
        let (sender, receiver) = mpsc::channel();
        for later in [false, true] {
            let sender = sender.clone();
            let falls = async move {
                if later {
                    tokio::task::yield_now().await;
                }
                panic!("on purpose");
                #[expect(unreachable_code, reason = "says what the future would give")]
                Ok(())
            };
            answers.give(Span::none(), falls, move |answer| sender.send(answer).unwrap());
            let error = receiver.recv().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "medusafs has a bug: on purpose");
        }
    }
}
