"""The protocol that E2B's code interpreter clients speak."""
import json
import sys
import time
import traceback

from . import languages
from .contexts import NotFound, Refused
from .http import HttpError
from .kernel import KernelFailed

ENV_MAX = 1024


def json_object(request):
    try:
        value = json.loads(request.body or b"{}")
    except ValueError as error:
        raise HttpError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise HttpError(400, "the body is not a JSON object")
    return value


def optional_text(fields, name):
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise HttpError(400, f"{name}: text expected")
    return value or None


def environment(fields):
    env = fields.get("env_vars") or {}
    if not isinstance(env, dict) or len(env) > ENV_MAX:
        raise HttpError(400, f"env_vars: an object of at most {ENV_MAX} texts expected")
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or not isinstance(value, str) or "\0" in value:
            raise HttpError(400, f"env_vars: {name[:100]!r} is no name, or its value is no text")
    return env


def encode(line):
    if line["type"] in ("stdout", "stderr"):
        line["timestamp"] = time.time_ns()
    # ASCII: JavaScript's client decodes each piece of the stream for itself, and a character may lie across two.
    return json.dumps(without_nan(line), separators=(",", ":")).encode() + b"\n"


def without_nan(value):
    """JSON has no NaN; users' own bundles may."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return value


class Routes:
    def __init__(self, contexts):
        self._contexts = contexts

    async def handle(self, exchange):
        try:
            await self._route(exchange)
        except HttpError as error:
            await self._refuse(exchange, error.status, error)
        except (NotFound, languages.UnknownLanguage) as error:
            # 404 is the one status whose text every client shows.
            await self._refuse(exchange, 404, error)
        except Refused as error:
            await self._refuse(exchange, 400, error)
        except KernelFailed as error:
            await self._refuse(exchange, 500, error)
        except OSError:
            raise
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            await self._refuse(exchange, 500, f"the service failed: {type(error).__name__}")

    @staticmethod
    async def _refuse(exchange, status, message):
        if exchange.streaming:
            raise ConnectionAbortedError("the reply has begun")
        await exchange.reply(status, str(message).encode())

    async def _route(self, exchange):
        request = exchange.request
        parts = request.path.strip("/").split("/")
        match (request.method, *parts):
            case ("GET" | "HEAD", "health"):
                await exchange.reply(200, b"ok")
            case ("POST", "execute"):
                await self._execute(exchange)
            case ("POST", "contexts"):
                await self._create(exchange)
            case ("GET", "contexts"):
                await self._json(exchange, 200, self._contexts.list())
            case ("DELETE", "contexts", context_id):
                await self._contexts.remove(context_id)
                await exchange.reply(204)
            case ("POST", "contexts", context_id, "restart"):
                await self._contexts.find(context_id).restart()
                await exchange.reply(204)
            case _:
                raise HttpError(404, f"{request.method} {request.path[:200]}: there is no such thing here")

    @staticmethod
    async def _json(exchange, status, value):
        await exchange.reply(status, json.dumps(value).encode(), "application/json")

    async def _create(self, exchange):
        fields = json_object(exchange.request)
        language = languages.resolve(optional_text(fields, "language"))
        context = await self._contexts.create(language, optional_text(fields, "cwd"))
        await self._json(exchange, 201, context.shown())

    async def _execute(self, exchange):
        fields = json_object(exchange.request)
        code = fields.get("code")
        if not isinstance(code, str):
            raise HttpError(400, "code: text expected")
        env = environment(fields)
        context_id, language = optional_text(fields, "context_id"), optional_text(fields, "language")
        if context_id and language:
            raise HttpError(400, "context_id and language: only one of them")
        context = self._contexts.find(context_id) if context_id else self._contexts.default(languages.resolve(language))
        lines = context.execute(code, env)
        try:
            async for line in lines:
                await exchange.stream(encode(line))
        finally:
            await lines.aclose()
        await exchange.finish()
