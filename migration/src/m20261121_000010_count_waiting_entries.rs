//! Counts the waiting entries of every product by blocks of positions, so that the position of one
//! entry and the length of a waitlist cost the same for any number of entries.
//!
//! `waitlist_counts` has three levels: a block of level `n` covers `256 ^ n` positions. Triggers
//! keep it, because nodes of an earlier version write entries too while an upgrade is under way.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

/// The first statement keeps writers out until the triggers are there, so that no entry is missed.
const UP_POSTGRES: &str = "
    LOCK TABLE waitlist_entries IN SHARE ROW EXCLUSIVE MODE;
    CREATE TABLE waitlist_counts (
        product_id uuid NOT NULL,
        level integer NOT NULL,
        block bigint NOT NULL,
        waiting integer NOT NULL,
        CONSTRAINT waitlist_counts_pkey PRIMARY KEY (product_id, level, block)
    ) WITH (fillfactor = 50);
    CREATE FUNCTION count_waiting_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            UPDATE waitlist_counts SET waiting = waitlist_counts.waiting - gone.waiting
            FROM (SELECT product_id, levels.level, position >> (8 * levels.level) AS block,
                    COUNT(*) AS waiting
                FROM removed CROSS JOIN (VALUES (1), (2), (3)) AS levels (level)
                WHERE status = 'waiting' GROUP BY 1, 2, 3) AS gone
            WHERE waitlist_counts.product_id = gone.product_id
                AND waitlist_counts.level = gone.level AND waitlist_counts.block = gone.block;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO waitlist_counts (product_id, level, block, waiting)
            SELECT product_id, levels.level, position >> (8 * levels.level), COUNT(*)
            FROM added CROSS JOIN (VALUES (1), (2), (3)) AS levels (level)
            WHERE status = 'waiting' GROUP BY 1, 2, 3
            ON CONFLICT (product_id, level, block)
                DO UPDATE SET waiting = waitlist_counts.waiting + EXCLUDED.waiting;
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER count_added_entries AFTER INSERT ON waitlist_entries
        REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION count_waiting_entries();
    CREATE TRIGGER count_changed_entries AFTER UPDATE ON waitlist_entries
        REFERENCING OLD TABLE AS removed NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION count_waiting_entries();
    CREATE TRIGGER count_removed_entries AFTER DELETE ON waitlist_entries
        REFERENCING OLD TABLE AS removed
        FOR EACH STATEMENT EXECUTE FUNCTION count_waiting_entries();";

const DOWN_POSTGRES: &str = "
    DROP TRIGGER count_added_entries ON waitlist_entries;
    DROP TRIGGER count_changed_entries ON waitlist_entries;
    DROP TRIGGER count_removed_entries ON waitlist_entries;
    DROP FUNCTION count_waiting_entries();
    DROP TABLE waitlist_counts;";

const UP_SQLITE: [&str; 4] = [
    "CREATE TABLE waitlist_counts (
        product_id uuid_text NOT NULL,
        level integer NOT NULL,
        block integer NOT NULL,
        waiting integer NOT NULL,
        PRIMARY KEY (product_id, level, block)
    ) WITHOUT ROWID",
    "CREATE TRIGGER count_added_entries AFTER INSERT ON waitlist_entries
    WHEN NEW.status = 'waiting' BEGIN
        INSERT INTO waitlist_counts
        SELECT NEW.product_id, level, NEW.position >> (8 * level), 1
        FROM (SELECT 1 AS level UNION ALL SELECT 2 UNION ALL SELECT 3) WHERE TRUE
        ON CONFLICT DO UPDATE SET waiting = waiting + 1;
    END",
    "CREATE TRIGGER count_changed_entries AFTER UPDATE OF status ON waitlist_entries
    WHEN (OLD.status = 'waiting') <> (NEW.status = 'waiting') BEGIN
        INSERT INTO waitlist_counts
        SELECT NEW.product_id, level, NEW.position >> (8 * level),
            CASE NEW.status WHEN 'waiting' THEN 1 ELSE -1 END
        FROM (SELECT 1 AS level UNION ALL SELECT 2 UNION ALL SELECT 3) WHERE TRUE
        ON CONFLICT DO UPDATE SET waiting = waiting + excluded.waiting;
    END",
    "CREATE TRIGGER count_removed_entries AFTER DELETE ON waitlist_entries
    WHEN OLD.status = 'waiting' BEGIN
        UPDATE waitlist_counts SET waiting = waiting - 1 WHERE product_id = OLD.product_id AND (
            (level = 1 AND block = OLD.position >> 8)
            OR (level = 2 AND block = OLD.position >> 16)
            OR (level = 3 AND block = OLD.position >> 24));
    END",
];

const DOWN_SQLITE: [&str; 4] = [
    "DROP TRIGGER count_added_entries",
    "DROP TRIGGER count_changed_entries",
    "DROP TRIGGER count_removed_entries",
    "DROP TABLE waitlist_counts",
];

/// Counts the entries that wait already.
const COUNT: &str = "
    INSERT INTO waitlist_counts (product_id, level, block, waiting)
    SELECT product_id, level, position >> (8 * level), COUNT(*) FROM waitlist_entries
    CROSS JOIN (SELECT 1 AS level UNION ALL SELECT 2 UNION ALL SELECT 3) AS levels
    WHERE status = 'waiting' GROUP BY 1, 2, 3";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Postgres {
            execute(manager, &[UP_POSTGRES]).await?;
        } else {
            execute(manager, &UP_SQLITE).await?;
        }
        execute(manager, &[COUNT]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Postgres {
            return execute(manager, &[DOWN_POSTGRES]).await;
        }
        execute(manager, &DOWN_SQLITE).await
    }
}

async fn execute(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for statement in statements {
        manager
            .get_connection()
            .execute_unprepared(statement)
            .await?;
    }
    Ok(())
}
