"""The platform: its parts by name, made once in order, and the work that goes on after a request has ended.

Knows no wire format. `start` and `stop` run on the loop that serves.
"""

from __future__ import annotations

import asyncio
import logging
import tomllib
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from openglm.asgi.events import Streams
from openglm.errors import OpenGLMError, Overloaded, Unauthorized
from openglm.maas import door, household
from openglm.maas.agents import Agents, Conversations
from openglm.maas.batches import Batches
from openglm.maas.blobs import open_blobs
from openglm.maas.database import Database, open_database
from openglm.maas.documents.reading import text_apart
from openglm.maas.files import Files
from openglm.maas.finetuning import TRAINER, FineTuning
from openglm.maas.gateway.rows import Errands, Vectors
from openglm.maas.household import Household
from openglm.maas.identity import (
    SEAT,
    Accounts,
    Audit,
    Caller,
    Keys,
    Oidc,
    Projects,
    Sessions,
    seated,
    still_seated,
)
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.image_links import ImageLinks
from openglm.maas.images import Images
from openglm.maas.installation import Installation, open_installation
from openglm.maas.knowledge import Knowledge
from openglm.maas.limits import Limits
from openglm.maas.mcp import McpServers
from openglm.maas.models import Models
from openglm.maas.moderation import Moderator, NoModeration, WordList
from openglm.maas.money import (
    Billing,
    Budgets,
    Invoices,
    ManualPayments,
    PaymentAdapter,
    Plans,
    Prices,
    Wallet,
)
from openglm.maas.operate.fetching import Fetching
from openglm.maas.operate.metrics import GatewayMetrics
from openglm.maas.operate.request_log import RequestLog
from openglm.maas.outbound import Fetched, GuardedSession
from openglm.maas.quotas.quotas import Quotas
from openglm.maas.responses import Responses
from openglm.maas.search import LocalIndex, Reader, SearchEngine, SearxngEngine
from openglm.maas.search.routes import TOOLS
from openglm.maas.servers import Command, Servers, serve_command
from openglm.maas.settings import Settings
from openglm.maas.tasks import Tasks
from openglm.maas.upstreams import Channels, Client, Router

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

logger = logging.getLogger(__name__)
T = TypeVar("T")
STOP_S = 20.0  # how long bills may still be written after the last request


class Platform:
    """Handlers take what they need from here. One for each process and data folder."""

    def __init__(
        self,
        settings: Settings,
        *,
        serves: bool = True,
        clock: Clock = wall_clock,
        server: Command = serve_command,
        trainer: Sequence[str] = TRAINER,
    ):
        """`serves`: start the servers of models that have a source; else channels alone answer.

        `server` and `trainer`: the command lines of a model's server and of a training.
        """
        self.settings = settings
        self._serves = serves
        self.clock = clock
        self.database = open_database(settings.database)
        self.installation = _installation(settings, self.database)
        self.secrets = self.installation.secrets
        # Who
        self.keys = Keys(self.database, self.secrets, jwt=settings.jwt_keys, clock=clock)
        self.accounts = Accounts(
            self.database, sign_up=settings.sign_up, changed=self.keys.forget, clock=clock
        )
        self.projects = Projects(self.database, changed=self.keys.forget, clock=clock)
        self.sessions = Sessions(self.database, self.secrets, clock=clock)
        self.household = Household(self.database, self.accounts, clock=clock)
        self.audit = Audit(self.database)
        # What it costs
        self.prices = Prices(self.database, clock=clock)
        self.plans = Plans(self.database, settings.data / "plans.toml", clock=clock)
        self.billing = Billing(self.database, self.prices, self.plans, clock=clock)
        self.wallet = Wallet(self.database, _payments(settings), clock=clock)
        self.invoices = Invoices(self.database, currency=settings.currency, clock=clock)
        self.budgets = Budgets(self.database, clock=clock)
        self.limits = Limits(self.database)
        self.quotas = Quotas(self.database, clock=clock)
        # Who answers
        self.client = Client()
        self.router = Router(self.client, clock=clock)
        self.models = Models(self.database, clock=clock)
        self.channels = Channels(self.database, self.secrets, self.router, clock=clock)
        self.servers = Servers(
            self.models, self.router, self.client, data=settings.data, clock=clock, command=server
        )
        self.models.changed = self.servers.offer
        # What else there is
        self.moderation = _moderation(settings)
        self._web, self._operators_web = GuardedSession(), GuardedSession(allow_private=True)
        self.mcp = McpServers(settings.mcp)
        self.oidc = Oidc(
            self.database,
            self.secrets,
            self.accounts,
            settings.oidc,
            session=self._operators_web,
            clock=clock,
        )
        self._index: LocalIndex | None = None
        self.search: SearchEngine = self._engine()
        self.reader, self.image_links = Reader(self.fetch), ImageLinks(self.fetch)
        node_id = self.billing.node_id
        blobs = open_blobs(settings.blobs)
        self.files = Files(self.database, blobs, clock)
        self.images = Images(self.files, self.secrets, clock=clock)
        self.knowledge = Knowledge(
            self.database,
            blobs,
            embed=Vectors(self),
            fetch=self.fetch,
            offers=lambda caller, model: model in self.models_of(caller),
            node_id=node_id,
            clock=clock,
        )
        self.batches = Batches(
            self.database, self.files, Errands(self, batch=True).run, node_id=node_id, clock=clock
        )
        self.tasks = Tasks(self.database, Errands(self, batch=False).run, node_id=node_id, clock=clock)
        self.agents = Agents(settings.data / "agents.toml")
        self.conversations = Conversations(self.database, clock=clock)
        self.metrics, self.fetching = GatewayMetrics(), Fetching()
        self.finetuning = FineTuning(
            self.database,
            files=self.files,
            billing=self.billing,
            prices=self.prices,
            models=self.models,
            servers=self.servers,
            still=self.still,
            data=settings.data,
            node_id=node_id,
            at_once=settings.trainings_at_once if serves else 0,
            offered=serves,
            clock=clock,
            trainer=trainer,
            settled=self.metrics.settled,
        )
        self.request_log = RequestLog(self.database, self.secrets, clock=clock)
        self.responses = Responses(self.database, node_id=node_id, clock=clock)
        self.streams = Streams()
        self._going_on: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Recover what a killed process left, and begin to tick."""
        self.agents.load()
        await self.plans.load()
        await self.prices.set_if_none(*TOOLS)
        await self.limits.start()
        await self.billing.start()
        await self.models.start()
        await self.channels.start()
        self.router.start()
        if self._serves:
            await self.servers.start()
        await self.batches.start()
        await self.tasks.start()
        await self.images.start()
        await self.conversations.start()
        await self.responses.start()
        await self.knowledge.start()
        await self.finetuning.start()
        await self.request_log.start()

    async def stop(self) -> None:
        """Write every bill that is still open, then close what was opened."""
        self._stopping = True
        await self.batches.stop()
        await self.tasks.stop()
        await self.knowledge.stop()
        await self.finetuning.stop()
        await self.settled(STOP_S)
        self.fetching.stop_all()
        await self.images.stop()
        await self.conversations.stop()
        await self.responses.stop()
        await self.request_log.stop()
        await self.servers.stop()
        await self.router.stop()
        await self.channels.stop()
        await self.models.stop()
        await self.billing.stop()
        await self.limits.stop()
        await self.close()

    async def close(self) -> None:
        """Let go of files and connections; all that one has to do who never started it."""
        await self.client.close()
        await self._web.close()
        await self._operators_web.close()
        await self.mcp.close()
        if self._index:
            self._index.close()
        self.database.close()

    async def caller(self, request: HTTPConnection, *, endpoint: str | None = None) -> Caller:
        """Who sends a request, if their key is good and covers the endpoint, where one is named."""
        return await door.admit(self, request.scope, endpoint)

    async def seated(self, user_id: str, org_id: str | None = None) -> Caller:
        """Who somebody signed in is, as a caller: in that organisation, else in their first."""
        return await seated(self.database, user_id, org_id)

    async def still(self, caller: Caller) -> Caller:
        """The caller as their key stands now, for what runs on after its request: batches, async chats,
        documents. Unauthorized once the key, its user or its organisation has ended."""
        if caller.key_id == SEAT:
            return await still_seated(self.database, caller)
        if caller.key_id != household.KEY:
            return await self.keys.still(caller.key_id)
        at_home = await self.household.caller()
        if at_home is None:
            raise Unauthorized("this machine's own work ended with the first account", reason="rejected")
        return at_home

    def models_of(self, caller: Caller) -> list[str]:
        """The names that a caller may call."""
        return self.models.seen_by(caller, self.router.models)

    async def fetch(self, url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
        """A stranger's URL, from public addresses alone."""
        return await self._web.fetch(url, max_bytes=max_bytes, timeout_s=timeout_s)

    async def fetch_named(self, url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
        """A URL that the operator wrote down, of their own network too."""
        return await self._operators_web.fetch(url, max_bytes=max_bytes, timeout_s=timeout_s)

    async def text_of(self, content: bytes, name: str) -> str:
        """The text of a document, read in a process of its own."""
        return await text_apart(content, name)

    def check_open(self) -> None:
        """Raise once the platform is stopping: what has begun ends, nothing new begins."""
        if self._stopping:
            raise Overloaded("the platform is stopping")

    def refuse(self) -> None:
        """Take no new requests from here on, and let streams end with an error that says why."""
        self._stopping = True
        self.streams.end(Overloaded("the platform is stopping"))

    def go_on(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what must be finished whoever leaves; `stop` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)
        return task

    async def settled(self, timeout_s: float = STOP_S) -> None:
        """Wait until nothing goes on any more."""
        if self._going_on:
            _, late = await asyncio.wait(tuple(self._going_on), timeout=timeout_s)
            if late:
                logger.error("%d bills are left to the next start", len(late))

    def _engine(self) -> SearchEngine:
        """The search engine that the operator named, else the index in the data folder."""
        if self.settings.search_url:

            async def ask(url: str) -> bytes:
                return (await self.fetch_named(url, max_bytes=8 << 20, timeout_s=20.0)).body

            return SearxngEngine(self.settings.search_url, ask)
        self._index = LocalIndex(self.settings.data / "search.db", self.clock)
        return self._index


def _installation(settings: Settings, database: Database) -> Installation:
    try:
        return open_installation(settings.data, database)
    except BaseException:
        database.close()
        raise


def _payments(settings: Settings) -> tuple[PaymentAdapter, ...]:
    return (ManualPayments(settings.payment_secret.encode()),) if settings.payment_secret else ()


def _moderation(settings: Settings) -> Moderator:
    """`moderation.toml` in the data folder: lists of words by category. Without it everything passes."""
    path = settings.data / "moderation.toml"
    if not path.exists():
        return NoModeration()
    try:
        words = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise OpenGLMError(f"{path} cannot be read: {error}") from None
    for category, listed in words.items():
        if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
            raise OpenGLMError(f"{path}: {category} must be a list of words")
    return WordList(words)
