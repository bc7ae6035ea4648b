"""Money: a double-entry ledger in whole numbers, holds before the first byte, and exactly one settle each.

`Billing` judges every request (wallet, budgets, plans); the others are what people set and read.
"""

from openglm.maas.money.ask import Ask, Hold, Receipt
from openglm.maas.money.bill import Bill
from openglm.maas.money.billing import Billing
from openglm.maas.money.budgets import Budget, Budgets
from openglm.maas.money.holds import receipts
from openglm.maas.money.invoices import Invoice, Invoices, invoice_csv
from openglm.maas.money.payments import ManualPayments, Order, Payment, PaymentAdapter
from openglm.maas.money.prices import Price, Prices
from openglm.maas.money.subscriptions import Meter, Plans, Subscription
from openglm.maas.money.usage_table import ModelUsage, usage_by_model, usage_csv, usage_rows, usage_sums
from openglm.maas.money.wallet import Balance, Wallet

__all__ = [
    "Ask",
    "Balance",
    "Bill",
    "Billing",
    "Budget",
    "Budgets",
    "Hold",
    "Invoice",
    "Invoices",
    "ManualPayments",
    "Meter",
    "ModelUsage",
    "Order",
    "Payment",
    "PaymentAdapter",
    "Plans",
    "Price",
    "Prices",
    "Receipt",
    "Subscription",
    "Wallet",
    "invoice_csv",
    "receipts",
    "usage_by_model",
    "usage_csv",
    "usage_rows",
    "usage_sums",
]
