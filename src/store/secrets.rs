//! SQL for the table `shared_secrets`: secrets that the nodes make for each other.

use sea_orm::{ConnectionTrait, Statement};

use super::{Result, Store};
use crate::domain::Secret;

const INSERT: &str = "\
    INSERT INTO shared_secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
const SELECT: &str = "SELECT secret FROM shared_secrets WHERE name = $1";

impl Store {
    /// The secret of this name that all nodes share: the first one that a node suggested.
    pub async fn shared_secret(&self, name: &str, suggested: &Secret) -> Result<Secret> {
        let backend = self.write.get_database_backend();
        let values = [name.into(), suggested.expose().into()];
        let insert = Statement::from_sql_and_values(backend, INSERT, values);
        self.bounded_write(self.write.execute_raw(insert)).await?;
        let select = Statement::from_sql_and_values(backend, SELECT, [name.into()]);
        let row = self.bounded_write(self.write.query_one_raw(select)).await?;
        Ok(match row {
            Some(row) => Secret::new(row.try_get_by_index::<String>(0)?),
            None => suggested.clone(),
        })
    }
}
