//! What a command answers with, before it is sent.

use super::{records::Prompt, report_files::File, wording::Message};

/// An answer: messages, and perhaps files after them.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// In order.
    pub(super) messages: Vec<Message>,
    /// Sent after the messages.
    pub(super) files: Vec<File>,
    /// What a reaction to the last message means.
    pub(super) prompt: Option<Prompt>,
}

impl Answer {
    /// None: what the command changed is told by a notice.
    pub(super) fn by_notice() -> Self {
        Self::default()
    }

    pub(super) fn with_prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    pub(super) fn with_files(mut self, files: Vec<File>) -> Self {
        self.files = files;
        self
    }
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        vec![message].into()
    }
}

impl From<Vec<Message>> for Answer {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }
}
