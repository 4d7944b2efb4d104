//! What the homeservers were asked, from their own access logs: one line for each request that was
//! answered, with the account, the size of the answer and the user agent.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::Result;
use jiff::civil::DateTime;
use ruma::UserId;

use crate::Pair;

/// Requests, and how much was answered to them.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// By method and path, without what tells one room from another.
    pub by_endpoint: BTreeMap<String, usize>,
    /// Those of them that were answered with a limit (status 429).
    pub limited: BTreeMap<String, usize>,
    /// Bodies of the answers, in bytes.
    pub answered: u64,
}

impl Requests {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_endpoint.values().sum()
    }
}

/// A place in the access logs of both homeservers.
#[derive(Debug)]
pub struct Mark(Vec<(PathBuf, u64)>);

impl Mark {
    /// The end, as of now.
    pub fn end(pair: &Pair) -> Result<Self> {
        let logs = [&pair.old, &pair.new].into_iter().map(|homeserver| {
            let log = homeserver.log_path();
            let end = log.metadata()?.len();
            Ok((log, end))
        });
        Ok(Self(logs.collect::<Result<_>>()?))
    }

    /// How long the bot took for each answer to a command after this: from the end of its last sync
    /// until it sent the answer.
    pub fn answering(&self, bot: &UserId) -> Result<Vec<Duration>> {
        let (mut synced, mut answering) = (Vec::new(), Vec::new());
        for (log, mark) in &self.0 {
            let text = fs::read(log)?;
            let after = text.get(usize::try_from(*mark)?..).unwrap_or_default();
            let text = String::from_utf8_lossy(after);
            for line in text.lines().filter_map(Line::read) {
                if line.account != bot.as_str() {
                    continue;
                }
                if line.endpoint.ends_with("/sync") {
                    synced.push(line.ended);
                } else if line.is_answer {
                    let sent = line.ended.checked_sub(line.took)?;
                    let learned = synced.iter().rev().find(|ended| **ended <= sent);
                    let took = learned.map(|learned| sent.duration_since(*learned));
                    answering.extend(took.and_then(|took| Duration::try_from(took).ok()));
                }
            }
        }
        Ok(answering)
    }

    /// What one of these accounts asked after this, with a user agent that begins so.
    pub fn requests(&self, accounts: &[&UserId], user_agent: &str) -> Result<Requests> {
        let mut requests = Requests::default();
        for (log, mark) in &self.0 {
            let text = fs::read(log)?;
            let after = text.get(usize::try_from(*mark)?..).unwrap_or_default();
            for line in String::from_utf8_lossy(after).lines().filter_map(Line::read) {
                if line.user_agent.starts_with(user_agent)
                    && accounts.iter().any(|account| account.as_str() == line.account)
                {
                    if line.is_limited {
                        *requests.limited.entry(line.endpoint.clone()).or_default() += 1;
                    }
                    *requests.by_endpoint.entry(line.endpoint).or_default() += 1;
                    requests.answered += line.answered;
                }
            }
        }
        Ok(requests)
    }
}

/// A line of an access log, as far as it is wanted here.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    ended: DateTime,
    took: Duration,
    account: &'a str,
    answered: u64,
    is_limited: bool,
    endpoint: String,
    /// Whether it is a message of the bot that answers a command: its transaction ID tells.
    is_answer: bool,
    user_agent: &'a str,
}

impl<'a> Line<'a> {
    /// `None` for lines of another kind, which there are many of.
    fn read(line: &'a str) -> Option<Self> {
        let (origin, line) = line.split_once(" - {")?;
        let ended = origin.split_once(" INFO")?.0.replace(',', ".").parse().ok()?;
        let (account, line) = line.split_once("} Processed request: ")?;
        let (figures, line) = line.split_once(" \"")?;
        let took = figures.split_once("sec/")?.0.parse().ok()?;
        let answered = figures.split(' ').find_map(|figure| figure.strip_suffix('B'))?;
        let (request, line) = line.split_once("\" \"")?;
        let (user_agent, _) = line.split_once('"')?;
        let mut request = request.split(' ');
        let (method, target) = (request.next()?, request.next()?);
        Some(Self {
            ended,
            took: Duration::try_from_secs_f64(took).ok()?,
            account,
            answered: answered.parse().ok()?,
            is_limited: figures.ends_with(" 429"),
            endpoint: format!("{method} {}", endpoint(target)),
            is_answer: ["$", "%24"]
                .iter()
                .any(|sigil| target.contains(&format!("/send/m.room.message/tern-{sigil}"))),
            user_agent,
        })
    }
}

/// A path without its query, with `…` in place of each ID.
fn endpoint(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let is_id = |part: &&str| {
        ["!", "@", "#", "$", "%21", "%40", "%23", "%24"].iter().any(|sigil| part.starts_with(sigil))
    };
    let parts = path.split('/').map(|part| if is_id(&part) { "…" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_from_what_synapse_logs() {
        let line = "2026-11-22 02:03:47,483 INFO synapse.access.http.23545 GET-255 127.0.0.1 - \
                    23545 - {@old:localhost:26374} Processed request: 0.083sec/0.002sec \
                    ru=(0.017sec, 0.001sec) db=(0.235sec/0.011sec/71) 24069B 200 \"GET \
                    /_matrix/client/v3/rooms/!abc/joined_members?a=%22b HTTP/1.1\" \"tern/0.1.0\" \
                    [0 dbevts]";
        let expected = Line {
            ended: "2026-11-22T02:03:47.483".parse().unwrap(),
            took: Duration::from_millis(83),
            account: "@old:localhost:26374",
            answered: 24069,
            is_limited: false,
            endpoint: "GET /_matrix/client/v3/rooms/…/joined_members".to_owned(),
            is_answer: false,
            user_agent: "tern/0.1.0",
        };
        assert_eq!(Line::read(line), Some(expected));
        assert_eq!(Line::read("2026-11-22 02:03:47,483 INFO synapse.app - Started"), None);
    }
}
