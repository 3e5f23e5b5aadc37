//! SQL for the table `products`: reads, creation, changes, and the fenced write of the
//! stock (a batch that only sells writes it in `orders/insert.rs`).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entities::products::{ActiveModel, COLUMN, Column, Entity, Model};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, UpdateMany,
    sea_query::Expr,
};

use super::{Error, Result, Store, Transaction, padded};
use crate::domain::{
    Actor, AuditAction, AuditRow, Change, Product, ProductId, StockLevel, product_state,
};

/// Skus that a warning lists.
const SKUS_SHOWN_MAX: u64 = 10;

/// A product to be created; the service sets id and times.
#[derive(Clone, Debug)]
pub struct NewProduct {
    pub id: ProductId,
    pub sku: String,
    pub name: String,
    pub description: Option<String>,
    pub price: i64,
    pub currency: String,
    pub stock: i32,
    pub max_per_order: i32,
    pub max_per_user: Option<i32>,
    pub hold_seconds: Option<i32>,
    pub waitlist: bool,
    pub waitlist_skip: bool,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub published: bool,
    pub now: DateTime<Utc>,
}

/// The fields to change; `None` leaves a field unchanged, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct ProductPatch {
    pub sku: Option<String>,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub price: Option<i64>,
    pub currency: Option<String>,
    pub max_per_order: Option<i32>,
    pub max_per_user: Option<Option<i32>>,
    pub hold_seconds: Option<Option<i32>>,
    pub waitlist: Option<bool>,
    pub waitlist_skip: Option<bool>,
    pub starts_at: Option<Option<DateTime<Utc>>>,
    pub ends_at: Option<Option<DateTime<Utc>>>,
    pub published: Option<bool>,
}

/// The products of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// What buyers see.
    Public,
    /// Hidden products too.
    Unarchived,
    All,
}

/// The result of archiving a product.
#[derive(Clone, Debug)]
pub enum Archived {
    Done(Box<Product>),
    /// Now or before: a repeated call changes nothing.
    Already,
    HasLiveOrders,
    NotFound,
}

/// The stock of a product after a batch.
#[derive(Clone, Copy, Debug)]
pub struct StockChange<'a> {
    /// The row that the decision is based on.
    pub before: &'a Product,
    pub stock: StockLevel,
}

impl From<Model> for Product {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            sku: row.sku,
            name: row.name,
            description: row.description,
            price: row.price,
            currency: row.currency,
            stock: StockLevel {
                total: row.stock_total,
                on_hand: row.stock,
                reserved: row.stock_reserved,
            },
            version: row.version,
            max_per_order: row.max_per_order,
            max_per_user: row.max_per_user,
            hold_seconds: row.hold_seconds,
            waitlist: row.waitlist,
            waitlist_skip: row.waitlist_skip,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            published: row.published,
            archived_at: row.archived_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Store {
    pub async fn product(&self, id: ProductId) -> Result<Option<Product>> {
        let row = self
            .bounded(|| Entity::find_by_id(id).one(&self.read))
            .await?;
        Ok(row.map(Product::from))
    }

    /// Reads the row for a lane: on PostgreSQL with the writing pool, so that many reads never
    /// delay a batch.
    pub async fn product_for_write(&self, id: ProductId) -> Result<Option<Product>> {
        if !self.is_postgres() {
            // SQLite has one writing connection, which the batches of other lanes may occupy.
            return self.product(id).await;
        }
        let query = Entity::find_by_id(id).one(&self.write);
        Ok(self.bounded_write(query).await?.map(Product::from))
    }

    /// The products with these ids; ids without a product are left out.
    ///
    /// PostgreSQL would rather read 50,000 products than probe its index for 500.
    pub async fn products_by_id(&self, ids: Vec<ProductId>) -> Result<Vec<Product>> {
        let query = Entity::find().filter(COLUMN.id.is_in(padded(ids)));
        let query = query.build(self.read.get_database_backend());
        let rows = self.rows_in_order_of_index(&query).await?;
        let products = rows
            .iter()
            .map(|row| Model::from_query_result(row, "").map(Product::from));
        Ok(products.collect::<std::result::Result<_, _>>()?)
    }

    /// The products with these skus, without archived ones.
    pub async fn products_by_sku(&self, skus: Vec<String>) -> Result<Vec<Product>> {
        let query = Entity::find().filter(COLUMN.sku.is_in(skus));
        let query = query.filter(COLUMN.archived_at.is_null());
        let rows = self.bounded(|| query.clone().all(&self.read)).await?;
        Ok(rows.into_iter().map(Product::from).collect())
    }

    /// Up to `limit` products, newest first, with ids below `before`.
    pub async fn products(
        &self,
        listing: Listing,
        before: Option<ProductId>,
        limit: u64,
    ) -> Result<Vec<Product>> {
        let mut query = Entity::find().order_by_desc(COLUMN.id).limit(limit);
        if listing != Listing::All {
            query = query.filter(COLUMN.archived_at.is_null());
        }
        if listing == Listing::Public {
            query = query.filter(COLUMN.published.eq(true));
        }
        if let Some(before) = before {
            query = query.filter(COLUMN.id.lt(before));
        }
        let rows = self.bounded(|| query.clone().all(&self.read)).await?;
        Ok(rows.into_iter().map(Product::from).collect())
    }

    /// The skus of some of the newest products whose orders are held until they are paid.
    pub async fn skus_with_priced_holds(&self) -> Result<Vec<String>> {
        let query = Entity::find()
            .select_only()
            .column(Column::Sku)
            .filter(Column::HoldSeconds.is_not_null())
            .filter(Column::Price.gt(0))
            .order_by_desc(COLUMN.id)
            .limit(SKUS_SHOWN_MAX);
        self.bounded(|| query.clone().into_tuple().all(&self.read))
            .await
    }

    /// # Errors
    /// [`super::Constraint::Sku`] when another product has the sku.
    pub async fn create_product(&self, new: NewProduct, actor: &Arc<Actor>) -> Result<Product> {
        let now = new.now;
        let row = ActiveModel {
            id: Set(new.id),
            sku: Set(new.sku),
            name: Set(new.name),
            description: Set(new.description),
            price: Set(new.price),
            currency: Set(new.currency),
            stock_total: Set(new.stock),
            stock: Set(new.stock),
            version: Set(1),
            max_per_order: Set(new.max_per_order),
            max_per_user: Set(new.max_per_user),
            hold_seconds: Set(new.hold_seconds),
            waitlist: Set(new.waitlist),
            waitlist_skip: Set(new.waitlist_skip),
            stock_reserved: Set(0),
            starts_at: Set(new.starts_at),
            ends_at: Set(new.ends_at),
            published: Set(new.published),
            archived_at: Set(None),
            created_at: Set(new.now),
            updated_at: Set(new.now),
        };
        let transaction = self.begin().await?;
        self.in_time(async {
            let insert = Entity::insert(row).exec_with_returning(&transaction.inner);
            let product = Product::from(insert.await?);
            let change = Change::new(product_state(&product));
            let action = AuditAction::CreateProduct;
            let row = AuditRow::new(actor, action, product.id, change, now);
            transaction.commit_audited(row).await?;
            Ok(product)
        })
        .await
    }

    /// Changes the given fields of a product that is not archived, and bumps the version, which
    /// fences lanes that read the old row.
    ///
    /// # Errors
    /// [`super::Constraint::Sku`] and [`super::Constraint::SaleWindow`] when the row would violate
    /// them.
    pub async fn patch_product(
        &self,
        id: ProductId,
        patch: ProductPatch,
        actor: &Arc<Actor>,
    ) -> Result<Option<Product>> {
        let now = self.now();
        let set = ActiveModel {
            sku: patch.sku.map_or(NotSet, Set),
            name: patch.name.map_or(NotSet, Set),
            description: patch.description.map_or(NotSet, Set),
            price: patch.price.map_or(NotSet, Set),
            currency: patch.currency.map_or(NotSet, Set),
            max_per_order: patch.max_per_order.map_or(NotSet, Set),
            max_per_user: patch.max_per_user.map_or(NotSet, Set),
            hold_seconds: patch.hold_seconds.map_or(NotSet, Set),
            waitlist: patch.waitlist.map_or(NotSet, Set),
            waitlist_skip: patch.waitlist_skip.map_or(NotSet, Set),
            starts_at: patch.starts_at.map_or(NotSet, Set),
            ends_at: patch.ends_at.map_or(NotSet, Set),
            published: patch.published.map_or(NotSet, Set),
            updated_at: Set(now),
            ..ActiveModel::default()
        };
        let update = Entity::update_many()
            .set(set)
            .col_expr(Column::Version, next_version())
            .filter(COLUMN.id.eq(id));
        let transaction = self.begin().await?;
        self.in_time(async {
            let before = transaction.lock_product(id).await?;
            let Some(before) = before.filter(|product| product.archived_at.is_none()) else {
                return Ok(None);
            };
            let rows = update.exec_with_returning(&transaction.inner).await?;
            let Some(product) = rows.into_iter().next().map(Product::from) else {
                return Ok(None);
            };
            let change = Change::between(product_state(&before), product_state(&product));
            let row = AuditRow::new(actor, AuditAction::ChangeProduct, id, change, now);
            transaction.commit_audited(row).await?;
            Ok(Some(product))
        })
        .await
    }
}

impl Store {
    /// Archives a product that has no live orders. The lock of its row keeps lanes from selling
    /// meanwhile, and the version fences those that read the old row.
    pub async fn archive_product(&self, id: ProductId, actor: &Arc<Actor>) -> Result<Archived> {
        let now = self.now();
        let transaction = self.begin().await?;
        self.in_time(async {
            let Some(before) = transaction.lock_product(id).await? else {
                return Ok(Archived::NotFound);
            };
            if before.archived_at.is_some() {
                return Ok(Archived::Already);
            }
            if transaction.has_live_orders(id).await? {
                return Ok(Archived::HasLiveOrders);
            }
            let update = Entity::update_many()
                .col_expr(Column::ArchivedAt, Expr::value(now))
                .col_expr(Column::UpdatedAt, Expr::value(now))
                .col_expr(Column::Version, next_version())
                .filter(COLUMN.id.eq(id));
            let rows = update.exec_with_returning(&transaction.inner).await?;
            let Some(product) = rows.into_iter().next().map(Product::from) else {
                return Ok(Archived::NotFound);
            };
            let change = Change::between(product_state(&before), product_state(&product));
            let row = AuditRow::new(actor, AuditAction::ArchiveProduct, id, change, now);
            transaction.commit_audited(row).await?;
            Ok(Archived::Done(Box::new(product)))
        })
        .await
    }
}

impl Transaction {
    /// The fence: writes the stock, or returns false when the product's row is not `change.before`
    /// any more.
    pub async fn write_stock(&self, change: StockChange<'_>, now: DateTime<Utc>) -> Result<bool> {
        if self.commits_by_itself() {
            // The stock would be durable without the rows that follow it.
            let reason = "a write of several statements needs a transaction";
            return Err(Error::Refused(DbErr::Custom(reason.to_owned())));
        }
        let fence = self.fence(change, now).exec(&self.inner);
        Ok(fence.await?.rows_affected == 1)
    }

    /// The update of the stock that matches no row but the one that the decision is based on. A
    /// version alone can come twice: a fail-over may lose a write that was read, because its commit
    /// was interrupted, and the new primary then makes the same version of another stock.
    pub(super) fn fence(&self, change: StockChange<'_>, now: DateTime<Utc>) -> UpdateMany<Entity> {
        let StockChange { before, stock } = change;
        let update = Entity::update_many()
            .col_expr(Column::Stock, Expr::value(stock.on_hand))
            .col_expr(Column::StockTotal, Expr::value(stock.total))
            .col_expr(Column::StockReserved, Expr::value(stock.reserved))
            .col_expr(Column::UpdatedAt, Expr::value(now))
            .col_expr(Column::Version, next_version())
            .filter(COLUMN.id.eq(before.id))
            .filter(COLUMN.version.eq(before.version))
            .filter(COLUMN.stock.eq(before.stock.on_hand))
            .filter(COLUMN.stock_total.eq(before.stock.total))
            .filter(COLUMN.stock_reserved.eq(before.stock.reserved));
        if self.is_postgres() {
            return update.filter(COLUMN.updated_at.eq(before.updated_at));
        }
        update
    }

    /// Raises the product's version where it is still `version`, and changes nothing else: a
    /// statement that was sent with that version can then never match. False when another write
    /// has raised it; this waits for one that has not ended.
    pub async fn supersede(&self, id: ProductId, version: i64) -> Result<bool> {
        let raised = Entity::update_many()
            .col_expr(Column::Version, next_version())
            .filter(COLUMN.id.eq(id))
            .filter(COLUMN.version.eq(version))
            .exec(&self.inner)
            .await?;
        Ok(raised.rows_affected == 1)
    }

    /// Reads the product's row.
    pub async fn product(&self, id: ProductId) -> Result<Option<Product>> {
        let row = Entity::find_by_id(id).one(&self.inner).await?;
        Ok(row.map(Product::from))
    }

    /// Reads the product's row and locks it against other writers until the transaction ends.
    pub async fn lock_product(&self, id: ProductId) -> Result<Option<Product>> {
        let mut query = Entity::find_by_id(id);
        if self.is_postgres() {
            query = query.lock_exclusive();
        }
        Ok(query.one(&self.inner).await?.map(Product::from))
    }
}

fn next_version() -> sea_orm::sea_query::SimpleExpr {
    Expr::col(Column::Version).add(1)
}
