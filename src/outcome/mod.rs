//! What a run can end in: an [`Outcome`] has one [`Reason`], its exit code, and what to do next.

mod carried;
mod causes;
mod errno;
mod exit_code;
mod failure;
mod reasons;
pub mod shown;

pub use carried::Carried;
pub use causes::{Cause, WithCause};
pub use exit_code::ExitCode;
pub use failure::WithReason;
pub use reasons::{Reason, markdown_table};

/// How a run ended. An entry point converts it to its host's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The stable reason.
    pub reason: Reason,
    /// One line of what happened, with the names and numbers of this run.
    pub message: String,
    /// What exactly went wrong, where the reason has several causes.
    pub cause: Option<Cause>,
    /// What to do next, in one or two sentences.
    pub remedy: String,
}

impl Outcome {
    /// An outcome with its message and the reason's general remedy.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: shown::line(&message.into()),
            cause: None,
            remedy: reason.remedy().to_owned(),
        }
    }

    /// The same outcome with another message.
    #[must_use]
    pub fn with_message(&self, message: &str) -> Self {
        Self { message: shown::line(message), ..self.clone() }
    }

    /// The exit code of this outcome.
    pub const fn exit_code(&self) -> ExitCode {
        self.reason.exit_code()
    }

    /// Whether the run ended well.
    pub fn is_success(&self) -> bool {
        self.exit_code() == ExitCode::Success
    }
}

/// The remedy is the reason's; [`Situation::outcome`](crate::remedies::Situation::outcome) has the one that fits the cause.
impl From<&anyhow::Error> for Outcome {
    fn from(error: &anyhow::Error) -> Self {
        let reason = Reason::from_error(error);
        let outcome = Self::new(reason, format!("{error:#}"));
        // A full disk, for example, explains more than the step that failed because of it.
        let cause = Cause::from_error(error).filter(|cause| cause.reason() == reason);
        Self { cause, ..outcome }
    }
}
