//! Queries that are put together from parts. sqlx's own builder writes `?` for its general driver, which PostgreSQL
//! does not understand; this one numbers its parameters, which both databases do.

use std::fmt::{Display, Write};

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Arguments, AssertSqlSafe, Encode, Type};

pub(super) struct QueryBuilder {
    sql: String,
    arguments: AnyArguments,
}

impl QueryBuilder {
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), arguments: AnyArguments::default() }
    }

    /// Never text of a user.
    pub fn push(&mut self, sql: impl Display) -> &mut Self {
        let _ = write!(self.sql, "{sql}");
        self
    }

    pub fn push_bind<'t, T>(&mut self, value: T) -> &mut Self
    where
        T: Encode<'t, Any> + Type<Any>,
    {
        // Encoding for the general driver only clones.
        let _ = self.arguments.add(value);
        let number = self.arguments.len();
        self.push(format_args!("${number}"))
    }

    /// ` AND column IN (…)`, for at least one value.
    pub fn push_in(&mut self, column: &str, values: impl IntoIterator<Item = String>) -> &mut Self {
        self.push(format_args!(" AND {column} IN ("));
        for (index, value) in values.into_iter().enumerate() {
            self.push(if index == 0 { "" } else { ", " }).push_bind(value);
        }
        self.push(")")
    }

    pub fn build(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query_with(AssertSqlSafe(self.sql), self.arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered() {
        let mut query = QueryBuilder::new("SELECT a FROM t WHERE b = ");
        query.push_bind(1_i64).push_in("c", ["x".into(), "y".into()]).push(" AND d = ").push_bind("z");
        assert_eq!(query.sql, "SELECT a FROM t WHERE b = $1 AND c IN ($2, $3) AND d = $4");
    }
}
