//! Which requests meet a fault.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::Fault;

/// A fault, and the requests that meet it.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Method,
    part: String,
    fault: Fault,
    /// How many matching requests pass first.
    pass: usize,
    /// How many meet the fault after those.
    times: usize,
}

impl Rule {
    /// Every request of this method whose path and query, with nothing encoded in them, have this
    /// part.
    pub fn on(method: Method, part: &str, fault: Fault) -> Self {
        Self { method, part: part.to_owned(), fault, pass: 0, times: usize::MAX }
    }

    /// Lets this many pass first.
    #[must_use]
    pub fn after(self, pass: usize) -> Self {
        Self { pass, ..self }
    }

    /// Only this many meet the fault.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// What this request meets, if it is its turn.
    pub(super) fn meet(&mut self, method: &Method, target: &str) -> Option<Fault> {
        if self.method != method || !target.contains(&self.part) {
            return None;
        }
        if self.pass > 0 {
            self.pass -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some(self.fault.clone())
    }
}

/// A path and query without their encoding.
pub(super) fn readable(target: &str) -> String {
    percent_decode_str(target).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_lets_some_pass_and_then_meets_as_many_as_it_says() {
        let mut rule = Rule::on(Method::POST, "/join/!a:", Fault::Reset).after(1).times(2);
        let mut meets = |method, target| rule.meet(&method, &readable(target)).is_some();
        let join = "/_matrix/client/v3/join/%21a%3Ab";
        assert!(!meets(Method::GET, join), "another method");
        assert!(!meets(Method::POST, "/_matrix/client/v3/join/%21b%3Ab"), "another room");
        let met = [(); 4].map(|()| meets(Method::POST, join));
        assert_eq!(met, [false, true, true, false]);
    }
}
