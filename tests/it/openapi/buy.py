"""A shop's program that buys through the generated client.

usage: buy.py FOLDER_OF_THE_CLIENT URL ADMIN_TOKEN BUYER_TOKEN
"""

import sys

folder, url, admin_token, buyer_token = sys.argv[1:]
sys.path.insert(0, folder)

from flash_sale_client import AuthenticatedClient
from flash_sale_client.api.orders import get_order, list_orders, place_order
from flash_sale_client.api.products import create_product, get_availability
from flash_sale_client.models import Code, NewOrder, NewProduct, NewProductCurrency, Order, Problem

admin = AuthenticatedClient(base_url=url, token=admin_token, raise_on_unexpected_status=True)
buyer = AuthenticatedClient(base_url=url, token=buyer_token, raise_on_unexpected_status=True)

body = NewProduct(sku="generated", name="A drop", price=4900, currency=NewProductCurrency.EUR, stock=1)
product = create_product.sync(client=admin, body=body)

body = NewOrder(product_id=product.id, quantity=1)
order = place_order.sync(client=buyer, body=body, idempotency_key="first")
assert isinstance(order, Order) and order.total == 4900, order
assert place_order.sync(client=buyer, body=body, idempotency_key="first") == order
assert get_order.sync(order.id, client=buyer) == order
assert list_orders.sync(client=buyer, limit=5).orders == [order]

refused = place_order.sync(client=buyer, body=body, idempotency_key="second")
assert isinstance(refused, Problem) and refused.code == Code.SOLD_OUT, refused
assert get_availability.sync(product.id, client=buyer).stock == 0
print("bought", order.reference)
