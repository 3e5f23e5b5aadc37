//! Adds the lease of a payment, the proof of a refund, and the table of stray payments.
//!
//! Nodes of the version before write no lease. The trigger ends the lease when such a node takes a
//! payment over, and the constraint refuses its write that would end a payment that has a lease.

use sea_orm_migration::{prelude::*, schema, sea_orm::DbBackend};

use crate::m20261121_000002_create_orders::Orders;

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Iden)]
enum Added {
    PaymentLease,
    PaymentRefundedAt,
}

#[derive(Iden)]
enum StrayPayments {
    Table,
    PaymentId,
    OrderId,
    FoundAt,
    DueAt,
    Lease,
    RefundedAt,
}

const DUE_INDEX: &str = "stray_payments_due_at_idx";
const PAYMENT_STATUSES: [&str; 4] = ["succeeded", "declined", "refunding", "refunded"];

/// The check of existing rows would lock the table; none of them has a lease, and the service wrote
/// no other payment status.
const CHECKS_POSTGRES: &str = "
    ALTER TABLE orders
        ADD CONSTRAINT orders_pending_without_lease
            CHECK (status <> 'pending' OR payment_lease IS NULL) NOT VALID,
        ADD CONSTRAINT orders_payment_status_known
            CHECK (payment_status IN ('succeeded', 'declined', 'refunding', 'refunded')) NOT VALID;";

const TRIGGER_POSTGRES: &str = "
    CREATE FUNCTION end_payment_lease() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.payment_lease := NULL;
        RETURN NEW;
    END $$;
    CREATE TRIGGER end_payment_lease BEFORE UPDATE OF payment_asked_at ON orders
        FOR EACH ROW WHEN (OLD.payment_lease IS NOT NULL
            AND NEW.payment_lease IS NOT DISTINCT FROM OLD.payment_lease
            AND NEW.payment_asked_at IS NOT NULL
            AND NEW.payment_asked_at IS DISTINCT FROM OLD.payment_asked_at)
        EXECUTE FUNCTION end_payment_lease();";

const TRIGGER_SQLITE: &str = "
    CREATE TRIGGER end_payment_lease AFTER UPDATE OF payment_asked_at ON orders
        FOR EACH ROW WHEN OLD.payment_lease IS NOT NULL
            AND NEW.payment_lease IS OLD.payment_lease
            AND NEW.payment_asked_at IS NOT NULL
            AND NEW.payment_asked_at IS NOT OLD.payment_asked_at
        BEGIN
            UPDATE orders SET payment_lease = NULL WHERE id = NEW.id;
        END;";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        let mut lease = schema::uuid_null(Added::PaymentLease).take();
        let mut refunded = schema::timestamp_with_time_zone_null(Added::PaymentRefundedAt).take();
        if !postgres {
            // SQLite adds a constraint with a column only, one each.
            let (status, lease_is_null) =
                (Expr::col(Orders::Status), Expr::col(Added::PaymentLease));
            let without = status.ne("pending").or(lease_is_null.is_null());
            let known = Expr::col(Alias::new("payment_status")).is_in(PAYMENT_STATUSES);
            lease.check(("orders_pending_without_lease", without));
            refunded.check(("orders_payment_status_known", known));
        }
        for column in [lease, refunded] {
            let mut table = Table::alter();
            table.table(Orders::Table).add_column(column);
            manager.alter_table(table).await?;
        }
        manager.create_table(table()).await?;
        manager.create_index(due_index()).await?;
        let connection = manager.get_connection();
        if postgres {
            connection.execute_unprepared(CHECKS_POSTGRES).await?;
            connection.execute_unprepared(TRIGGER_POSTGRES).await?;
        } else {
            connection.execute_unprepared(TRIGGER_SQLITE).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if manager.get_database_backend() == DbBackend::Postgres {
            let drop = "
                DROP TRIGGER end_payment_lease ON orders;
                DROP FUNCTION end_payment_lease();
                ALTER TABLE orders DROP CONSTRAINT orders_pending_without_lease,
                    DROP CONSTRAINT orders_payment_status_known;";
            connection.execute_unprepared(drop).await?;
        } else {
            let drop = "DROP TRIGGER end_payment_lease";
            connection.execute_unprepared(drop).await?;
        }
        let mut strays = Table::drop();
        manager
            .drop_table(strays.table(StrayPayments::Table).take())
            .await?;
        for column in [Added::PaymentRefundedAt, Added::PaymentLease] {
            let mut table = Table::alter();
            table.table(Orders::Table).drop_column(column);
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}

fn table() -> TableCreateStatement {
    Table::create()
        .table(StrayPayments::Table)
        .col(schema::text(StrayPayments::PaymentId).primary_key())
        .col(schema::uuid(StrayPayments::OrderId))
        .col(schema::timestamp_with_time_zone(StrayPayments::FoundAt))
        .col(schema::timestamp_with_time_zone(StrayPayments::DueAt))
        .col(schema::uuid_null(StrayPayments::Lease))
        .col(schema::timestamp_with_time_zone_null(
            StrayPayments::RefundedAt,
        ))
        .take()
}

/// A partial index, because hardly any stray payment is left to refund.
fn due_index() -> IndexCreateStatement {
    Index::create()
        .name(DUE_INDEX)
        .table(StrayPayments::Table)
        .col(StrayPayments::DueAt)
        .and_where(Expr::col(StrayPayments::RefundedAt).is_null())
        .take()
}
