//! HTTP handlers of `/orders`: place, get, list.

use std::time::Instant;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    SharedState,
    auth::{Role, User},
    extract::{self, Params, PathId},
    observe::Began,
    problem::Problem,
    whole,
};
use crate::{
    domain::{
        Code, IdempotencyKey, Order, OrderId, OrderRequest, OrderStatus, Outcome, ProductId,
        QUANTITY_MAX, Refusal, UserId, WaitlistEntry,
    },
    metrics, sequencer,
    store::{self, OrderFilter},
    telemetry::traces::Attribute,
};

pub(super) mod cancel;
pub(super) mod confirm;
pub(super) mod resolve;

/// The longest `Idempotency-Key`, in bytes.
const KEY_MAX: usize = 255;

/// The body of `POST /orders`.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename = "NewOrder", deny_unknown_fields)]
#[schema(as = NewOrder)]
pub(super) struct OrderBody {
    #[garde(skip)]
    #[schema(value_type = Uuid)]
    product_id: ProductId,
    #[garde(range(min = 1, max = QUANTITY_MAX))]
    #[schema(minimum = 1, maximum = 1_000_000)]
    #[serde(deserialize_with = "whole::whole")]
    quantity: i32,
    /// Whether to join the waitlist when the product is sold out.
    #[serde(default)]
    #[garde(skip)]
    waitlist: bool,
}

/// A place on the waitlist instead of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Waitlisted {
    waitlist: WaitlistEntry,
}

/// Place an order
#[utoipa::path(
    post, path = "/orders", tag = "orders", request_body = OrderBody,
    operation_id = "placeOrder",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$",
        description = "1 to 255 visible ASCII characters; a repeated request returns the order or place that the first one made")),
    security(("token" = [])),
    responses(
        (status = 201, body = Order, description = "the order", headers(
            ("Location" = String, description = "the order's path"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when an earlier request made the order"))),
        (status = 202, body = Waitlisted, description = "on the waitlist, when the order does not fit and `waitlist` is true", headers(
            ("Idempotency-Replayed" = Option<String>, description = "`true` when an earlier request joined the waitlist"))),
    ),
    extensions(("x-codes" = json!(Code::all().filter(|code| code.refuses_orders()).collect::<Vec<_>>()))),
)]
pub(super) async fn place(State(state): State<SharedState>, request: Request) -> Response {
    let began = Began::of(&request);
    let (request, refusal) = match admit(&state, request).await {
        Ok(admitted) => admitted,
        Err(problem) => {
            metrics::ordered_unknown(problem.code().into());
            return problem.into_response();
        }
    };
    let outcome = match refusal {
        Some(outcome) => Ok(outcome),
        None => place_in_lane(&state, request, began).await,
    };
    let label = outcome
        .as_ref()
        .map_or_else(|error| error.code().into(), Outcome::label);
    metrics::order_answered(label, began.elapsed());
    match outcome {
        Ok(Outcome::Created(order)) => created(&order),
        Ok(Outcome::Replayed(order)) => replayed(created(&order)),
        Ok(Outcome::Waitlisted(entry)) => waitlisted(entry),
        Ok(Outcome::WaitReplayed(entry)) => replayed(waitlisted(entry)),
        Ok(Outcome::Refused(refusal)) => Problem::Refused(refusal).into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Read an order
#[utoipa::path(
    get, path = "/orders/{id}", tag = "orders", params(("id" = Uuid, Path)),
    operation_id = "getOrder", security(("token" = [])),
    responses((status = 200, body = Order, description = "the order")),
    extensions(("x-codes" = json!([Code::OrderNotFound]))),
)]
pub(super) async fn get(
    State(state): State<SharedState>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Json<Order>, Problem> {
    let user = state.keys.user(&headers).await?;
    let order = visible(&state, id, &user).await?;
    Ok(Json(order))
}

/// The order that a path names, if it is the user's own or the user is an admin.
async fn visible(state: &SharedState, id: PathId, user: &User) -> Result<Order, Problem> {
    let id = id.or(Problem::OrderNotFound)?;
    let order = state.store.order(id).await?;
    order
        .filter(|order| user.role == Role::Admin || order.user_id == user.id)
        .ok_or(Problem::OrderNotFound)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OrderListParams {
    #[param(required = false, nullable = false, value_type = Option<Uuid>)]
    product_id: Option<String>,
    #[param(required = false, nullable = false, value_type = Option<OrderStatus>)]
    status: Option<String>,
    /// The reference of an order, as people write it.
    #[param(required = false, nullable = false)]
    reference: Option<String>,
    /// Another user's orders need the role admin.
    #[param(required = false, nullable = false)]
    user_id: Option<String>,
    /// From this time on.
    #[param(required = false, nullable = false, value_type = Option<DateTime<Utc>>)]
    created_after: Option<String>,
    /// Before this time.
    #[param(required = false, nullable = false, value_type = Option<DateTime<Utc>>)]
    created_before: Option<String>,
    #[param(required = false, nullable = false, value_type = Option<u64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    #[param(required = false, nullable = false, value_type = Option<Uuid>)]
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderPage {
    orders: Vec<Order>,
    /// The `cursor` of the next page; null on the last one. A page can be short, even empty, although
    /// there is a next one.
    next_cursor: Option<Uuid>,
}

/// List the caller's orders, newest first; for an admin, the orders of all users
#[utoipa::path(
    get, path = "/orders", tag = "orders", params(OrderListParams), operation_id = "listOrders",
    security(("token" = [])),
    responses((status = 200, body = OrderPage, description = "a page of orders")),
    extensions(("x-codes" = json!([Code::Forbidden]))),
)]
pub(super) async fn list(
    State(state): State<SharedState>,
    headers: HeaderMap,
    Params(params): Params<OrderListParams>,
) -> Result<Json<OrderPage>, Problem> {
    let user = state.keys.user(&headers).await?;
    let limit = extract::limit(params.limit.as_deref())?;
    let filter = OrderFilter {
        user_id: listed_user(user, extract::user("user_id", params.user_id)?)?,
        product_id: extract::parameter("product_id", params.product_id.as_deref(), "a UUID")?,
        status: extract::parameter("status", params.status.as_deref(), STATUSES)?,
        references: extract::references(params.reference.as_deref())?,
        from: extract::time("created_after", params.created_after.as_deref())?,
        until: extract::time("created_before", params.created_before.as_deref())?,
        before: extract::cursor(params.cursor.as_deref())?,
        limit,
    };
    let store::OrderPage { orders, next } = state.store.order_page(filter).await?;
    Ok(Json(OrderPage {
        orders,
        next_cursor: next,
    }))
}

/// The user whose orders are listed; `None` for an admin's list of all users.
fn listed_user(caller: User, of: Option<String>) -> Result<Option<UserId>, Problem> {
    let of = of.map(UserId::from);
    match caller.role {
        Role::Admin => Ok(of),
        Role::Buyer if of.as_ref().is_none_or(|user| *user == caller.id) => Ok(Some(caller.id)),
        Role::Buyer => Err(Problem::Forbidden),
    }
}

const STATUSES: &str = "pending, confirming, confirmed, cancelled or expired";

async fn place_in_lane(
    state: &SharedState,
    request: OrderRequest,
    began: Instant,
) -> Result<Outcome, sequencer::Error> {
    let (product, plain) = (request.product_id, request.is_plain());
    let outcome = state.sequencer.place(request, began).await;
    if let Ok(Outcome::Refused(Refusal::SoldOut { .. })) = outcome
        && plain
    {
        state.gate.suspect(product);
    }
    outcome
}

/// Reads the request and passes it through the gate, which may refuse it.
async fn admit(
    state: &SharedState,
    request: Request,
) -> Result<(OrderRequest, Option<Outcome>), Problem> {
    let sent = extract::from_user::<OrderBody>(state, request).await?;
    let OrderBody {
        product_id,
        quantity,
        waitlist,
    } = sent.body;
    let key = idempotency_key(&sent.headers)?.map(|key| IdempotencyKey {
        key,
        request: format!("{product_id} {quantity} {waitlist}"),
    });
    let request = OrderRequest {
        order_id: OrderId::now_v7(),
        product_id,
        user_id: sent.user.id,
        quantity,
        waitlist,
        key,
    };
    let span = state.tracer.begin("admission");
    let admitted = state.gate.admit(&request, state.store.now()).await;
    if let Some(span) = span {
        let result = match &admitted {
            Ok(None) => "admitted",
            Ok(Some(_)) => "sold_out",
            Err(_) => "rate_limited",
        };
        let result = Attribute::text("flash_sale.admission.result", result);
        state.tracer.end(&span, vec![result]);
    }
    let refusal = admitted.map_err(Problem::RateLimited)?;
    Ok((request, refusal))
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    let is_valid = visible && (1..=KEY_MAX).contains(&value.len()) && values.next().is_none();
    match value.to_str() {
        Ok(key) if is_valid => Ok(Some(key.to_owned())),
        Ok(_) | Err(_) => Err(Problem::invalid(
            "Idempotency-Key",
            "must be one value of 1 to 255 visible ASCII characters",
        )),
    }
}

fn created(order: &Order) -> Response {
    let mut response = (StatusCode::CREATED, Json(order)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/orders/{}", order.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn waitlisted(waitlist: WaitlistEntry) -> Response {
    (StatusCode::ACCEPTED, Json(Waitlisted { waitlist })).into_response()
}

fn replayed(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}
