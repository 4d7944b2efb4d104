//! Who lives there.

use anyhow::Result;

use crate::{Account, Homeserver, Pair, Person};

/// Mara and those she knows.
#[derive(Debug)]
pub struct People {
    /// Mara's old account.
    pub old: Person,
    /// Mara's new account, on the other homeserver.
    pub new: Person,
    /// Shares a flat with Mara, on her old homeserver.
    pub jonas: Person,
    /// A friend on Mara's new homeserver.
    pub ayse: Account,
    /// A friend on Mara's old homeserver.
    pub tom: Account,
    /// Runs the bird club, on Mara's old homeserver.
    pub nuria: Account,
    /// Mara's sister, on her new homeserver.
    pub lena: Account,
}

impl People {
    pub(super) async fn come(pair: &Pair, prefix: &str) -> Result<Self> {
        let account = async |server: &Homeserver, localpart: &str, name: &str| {
            let account = server.account(&format!("{prefix}{localpart}")).await?;
            account.set_display_name(name).await?;
            anyhow::Ok(account)
        };
        let person = async |server, localpart, name| {
            Person::log_in(&account(server, localpart, name).await?).await
        };
        let (old, new, jonas, ayse, tom, nuria, lena) = tokio::try_join!(
            person(&pair.old, "mara99", "Mara"),
            person(&pair.new, "mara", "Mara"),
            person(&pair.old, "jonas", "Jonas"),
            account(&pair.new, "ayse", "Ayşe"),
            account(&pair.old, "tom", "Tom"),
            account(&pair.old, "nuria", "Núria"),
            account(&pair.new, "lena", "Lena"),
        )?;
        Ok(Self { old, new, jonas, ayse, tom, nuria, lena })
    }

    /// All accounts, each with who has it.
    pub fn all(&self) -> [(&Account, &'static str); 7] {
        [
            (&self.old, "Mara, who moves from here"),
            (&self.new, "Mara, who moves to here"),
            (&self.jonas, "Jonas, Mara's flatmate"),
            (&self.tom, "Tom, a friend"),
            (&self.nuria, "Núria, who runs the bird club"),
            (&self.ayse, "Ayşe, a friend"),
            (&self.lena, "Lena, Mara's sister"),
        ]
    }
}
