//! Request bodies of the admins' product calls: fields, bounds, conversion for the store.

use chrono::{DateTime, SubsecRound, Utc};
use garde::Validate;
use iso_currency::{Currency, IntoEnumIterator};
use serde::{Deserialize, Deserializer};
use utoipa::{
    ToSchema,
    openapi::schema::{ObjectBuilder, Schema, Type},
};

use super::super::{extract::printable, whole};
use crate::{
    domain::{PRICE_MAX, ProductId, QUANTITY_MAX, STOCK_MAX},
    store,
};

/// The default `max_per_order`.
const MAX_PER_ORDER: i32 = 10;
/// The longest hold: a week.
const HOLD_MAX: i32 = 7 * 24 * 60 * 60;

/// A new product.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename = "NewProduct", deny_unknown_fields)]
#[schema(as = NewProduct)]
pub(in crate::api) struct NewProductBody {
    #[garde(length(chars, min = 1, max = 64), custom(printable))]
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    sku: String,
    #[garde(length(chars, min = 1, max = 200), custom(printable))]
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    name: String,
    #[garde(inner(length(chars, max = 2_000), custom(printable)))]
    #[schema(
        max_length = 2_000,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    description: Option<String>,
    #[garde(range(min = 0, max = PRICE_MAX))]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    #[serde(deserialize_with = "whole::whole")]
    price: i64,
    #[garde(custom(iso_4217))]
    #[schema(schema_with = currencies)]
    currency: String,
    #[garde(range(min = 0, max = STOCK_MAX))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    #[serde(deserialize_with = "whole::whole")]
    stock: i32,
    #[garde(inner(range(min = 1, max = QUANTITY_MAX)))]
    #[schema(minimum = 1, maximum = 1_000_000)]
    #[serde(default, deserialize_with = "whole::optional")]
    max_per_order: Option<i32>,
    #[garde(inner(range(min = 1, max = STOCK_MAX)))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    #[serde(default, deserialize_with = "whole::optional")]
    max_per_user: Option<i32>,
    #[garde(inner(range(min = 1, max = HOLD_MAX)))]
    #[schema(minimum = 1, maximum = 604_800)]
    #[serde(default, deserialize_with = "whole::optional")]
    hold_seconds: Option<i32>,
    #[serde(default)]
    #[garde(skip)]
    waitlist: bool,
    /// Whether a waitlist entry that fits may be served before an earlier one that does not.
    #[serde(default)]
    #[garde(skip)]
    waitlist_skip: bool,
    #[garde(inner(custom(year)))]
    starts_at: Option<DateTime<Utc>>,
    #[garde(inner(custom(year)))]
    ends_at: Option<DateTime<Utc>>,
    /// `false` hides the product from everybody but admins.
    #[serde(default = "published")]
    #[garde(skip)]
    published: bool,
}

fn published() -> bool {
    true
}

/// The product fields to change; stock is changed by a restock.
#[expect(clippy::option_option, reason = "absent, null and a value differ")]
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename = "ProductPatch", deny_unknown_fields)]
#[schema(as = ProductPatch)]
pub(in crate::api) struct ProductPatchBody {
    #[garde(inner(length(chars, min = 1, max = 64), custom(printable)))]
    #[serde(default, deserialize_with = "present")]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 64,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    sku: Option<String>,
    #[garde(inner(length(chars, min = 1, max = 200), custom(printable)))]
    #[serde(default, deserialize_with = "present")]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    name: Option<String>,
    #[garde(inner(inner(length(chars, max = 2_000), custom(printable))))]
    #[serde(default, deserialize_with = "present")]
    #[schema(
        max_length = 2_000,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    description: Option<Option<String>>,
    #[garde(inner(range(min = 0, max = PRICE_MAX)))]
    #[serde(default, deserialize_with = "whole::present")]
    #[schema(nullable = false, minimum = 0, maximum = 1_000_000_000_000_i64)]
    price: Option<i64>,
    #[garde(inner(custom(iso_4217)))]
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, schema_with = currencies)]
    currency: Option<String>,
    #[garde(inner(range(min = 1, max = QUANTITY_MAX)))]
    #[serde(default, deserialize_with = "whole::present")]
    #[schema(nullable = false, minimum = 1, maximum = 1_000_000)]
    max_per_order: Option<i32>,
    #[garde(inner(inner(range(min = 1, max = STOCK_MAX))))]
    #[serde(default, deserialize_with = "whole::nullable")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_per_user: Option<Option<i32>>,
    #[garde(inner(inner(range(min = 1, max = HOLD_MAX))))]
    #[serde(default, deserialize_with = "whole::nullable")]
    #[schema(minimum = 1, maximum = 604_800)]
    hold_seconds: Option<Option<i32>>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    waitlist: Option<bool>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    waitlist_skip: Option<bool>,
    #[garde(inner(inner(custom(year))))]
    #[serde(default, deserialize_with = "present")]
    starts_at: Option<Option<DateTime<Utc>>>,
    #[garde(inner(inner(custom(year))))]
    #[serde(default, deserialize_with = "present")]
    ends_at: Option<Option<DateTime<Utc>>>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "present")]
    published: Option<bool>,
}

/// Units to add to the product's total; a negative number takes units away.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct RestockBody {
    #[garde(range(min = -STOCK_MAX, max = STOCK_MAX), custom(not_zero))]
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000)]
    #[serde(deserialize_with = "whole::whole")]
    pub(super) quantity: i32,
}

impl NewProductBody {
    pub(super) fn created_at(self, now: DateTime<Utc>) -> store::NewProduct {
        let body = self;
        store::NewProduct {
            id: ProductId::now_v7(),
            sku: body.sku,
            name: body.name,
            description: body.description,
            price: body.price,
            currency: body.currency,
            stock: body.stock,
            max_per_order: body.max_per_order.unwrap_or(MAX_PER_ORDER),
            max_per_user: body.max_per_user,
            hold_seconds: body.hold_seconds,
            waitlist: body.waitlist,
            waitlist_skip: body.waitlist_skip,
            starts_at: body.starts_at.map(micros),
            ends_at: body.ends_at.map(micros),
            published: body.published,
            now,
        }
    }
}

impl From<ProductPatchBody> for store::ProductPatch {
    fn from(body: ProductPatchBody) -> Self {
        Self {
            sku: body.sku,
            name: body.name,
            description: body.description,
            price: body.price,
            currency: body.currency,
            max_per_order: body.max_per_order,
            max_per_user: body.max_per_user,
            hold_seconds: body.hold_seconds,
            waitlist: body.waitlist,
            waitlist_skip: body.waitlist_skip,
            starts_at: body.starts_at.map(|at| at.map(micros)),
            ends_at: body.ends_at.map(|at| at.map(micros)),
            published: body.published,
        }
    }
}

/// Distinguishes a field that was sent, `null` or not, from an absent one.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// Cuts a time to microseconds, the precision of the database.
fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes the context by reference"
)]
fn iso_4217(code: &str, _context: &()) -> garde::Result {
    match Currency::from_code(code) {
        Some(currency) if is_money(currency) => Ok(()),
        Some(_) | None => Err(garde::Error::new(
            "must be the ISO 4217 code of a currency, such as EUR",
        )),
    }
}

/// Whether people pay with it. Codes without minor units stand for metals, baskets, tests or no currency
/// at all; funds are units of account; a superseded code is no longer in use, except the bolívar's, which
/// is used beside the newer one.
fn is_money(currency: Currency) -> bool {
    let in_use = currency.is_superseded().is_none() || currency == Currency::VES;
    currency.exponent().is_some() && !currency.is_fund() && in_use
}

/// The schema of a currency: every code that [`iso_4217`] accepts.
fn currencies() -> Schema {
    let currencies = Currency::iter().filter(|currency| is_money(*currency));
    let codes = currencies.map(|currency| currency.code());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("ISO 4217"))
        .enum_values(Some(codes))
        .into()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes value and context by reference"
)]
fn not_zero(quantity: &i32, _context: &()) -> garde::Result {
    if *quantity == 0 {
        return Err(garde::Error::new("must not be 0"));
    }
    Ok(())
}

/// Rejects years that some databases or clients cannot represent.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes the context by reference"
)]
fn year(at: &DateTime<Utc>, _context: &()) -> garde::Result {
    if (1970..=9999).contains(&chrono::Datelike::year(at)) {
        return Ok(());
    }
    Err(garde::Error::new(
        "must lie between the years 1970 and 9999",
    ))
}
