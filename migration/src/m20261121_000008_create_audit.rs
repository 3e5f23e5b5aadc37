//! Creates the table `audit`: who changed what, when. A trigger refuses to change or remove its rows.

use sea_orm_migration::{prelude::*, schema, sea_orm::DbBackend};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Iden)]
enum Audit {
    Table,
    Id,
    At,
    Actor,
    ActorRole,
    Action,
    Target,
    Before,
    After,
    RequestId,
}

const ROLES: [&str; 3] = ["admin", "buyer", "service"];

/// Once per statement, so that a statement that matches no row is refused too.
const APPEND_ONLY_POSTGRES: &str = "
    CREATE FUNCTION keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE insufficient_privilege USING MESSAGE = 'audit is append-only';
    END $$;
    CREATE TRIGGER keep_audit BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION keep_audit();";

/// `INSERT OR REPLACE` removes a row without its trigger.
const APPEND_ONLY_SQLITE: [&str; 3] = [
    "CREATE TRIGGER keep_audit_first BEFORE INSERT ON audit
        WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    "CREATE TRIGGER keep_audit_unchanged BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    "CREATE TRIGGER keep_audit_complete BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(table()).await?;
        for (name, column) in [
            ("audit_actor_id_idx", Audit::Actor),
            ("audit_target_id_idx", Audit::Target),
        ] {
            let mut index = Index::create();
            index.name(name).table(Audit::Table);
            manager
                .create_index(index.col(column).col(Audit::Id).take())
                .await?;
        }
        let connection = manager.get_connection();
        if manager.get_database_backend() == DbBackend::Postgres {
            connection.execute_unprepared(APPEND_ONLY_POSTGRES).await?;
            return Ok(());
        }
        for trigger in APPEND_ONLY_SQLITE {
            connection.execute_unprepared(trigger).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(Audit::Table).clone())
            .await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            let function = "DROP FUNCTION keep_audit()";
            manager
                .get_connection()
                .execute_unprepared(function)
                .await?;
        }
        Ok(())
    }
}

fn table() -> TableCreateStatement {
    Table::create()
        .table(Audit::Table)
        .col(ColumnDef::new(Audit::Id).uuid().not_null().primary_key())
        .col(schema::timestamp_with_time_zone(Audit::At))
        .col(schema::text(Audit::Actor))
        .col(schema::text(Audit::ActorRole))
        .col(schema::text(Audit::Action))
        .col(schema::uuid(Audit::Target))
        .col(schema::text_null(Audit::Before))
        .col(schema::text_null(Audit::After))
        .col(schema::text_null(Audit::RequestId))
        .check((
            "audit_actor_role_known",
            Expr::col(Audit::ActorRole).is_in(ROLES),
        ))
        .take()
}
