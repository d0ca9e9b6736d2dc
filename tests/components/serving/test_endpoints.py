"""An endpoint as a value: its URL in any form, its model's name, its key, and what it does not take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from components.core.errors import UserError
from components.serving.address import ANNOTATOR_KEY, ENDPOINT_KEY, JUDGE_KEY, Address
from components.serving.client import Client, Completion, Request, Sampling
from components.serving.completions import answering_model
from components.serving.description import check_endpoint, endpoint_identity, endpoint_info, resolve
from components.serving.engines.served_model import annotator_of, judge_of
from components.serving.patience import RetryPolicy
from components.training.dpo.dpo import DpoInputs
from tests.helpers.scripted_endpoint import Script, said

KEY = "sk-planted-0815"
QUICK = RetryPolicy(attempts=2, first_wait=0.01, timeout=5)
WARM = Sampling(0.7, 0.9, 16, stop=("END",))


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JUDGE_KEY, KEY)
    monkeypatch.setenv(ENDPOINT_KEY, "sk-of-another")
    monkeypatch.setenv(ANNOTATOR_KEY, "")


def judge(url: str, model: str = "") -> Address:
    return Address(url, model, JUDGE_KEY)


def ask(endpoint: Address | str, sampling: Sampling = WARM, texts: tuple[str, ...] = ("hi",)) -> list[Completion]:
    async def run() -> list[Completion]:
        client = Client(endpoint, QUICK)
        try:
            asked = [Request(text, [{"role": "user", "content": text}], sampling, seed=7) for text in texts]
            return [await client.complete(request) for request in asked]
        finally:
            await client.close()

    return asyncio.run(run())


def listing(*names: str, **more: Any) -> dict[str, Any]:
    return {"/v1/models": {"object": "list", "data": [{"id": name, "object": "model", **more} for name in names]}}


@pytest.mark.parametrize(
    ("url", "chat", "info"),
    [
        ("http://h:8000", "http://h:8000/v1/chat/completions", "http://h:8000/info"),
        ("http://h:8000/", "http://h:8000/v1/chat/completions", "http://h:8000/info"),
        ("http://h:8000/v1", "http://h:8000/v1/chat/completions", "http://h:8000/info"),
        ("http://h:8000/v1/", "http://h:8000/v1/chat/completions", "http://h:8000/info"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions", "http://h/info"),
        ("https://h/api/v1", "https://h/api/v1/chat/completions", "https://h/api/info"),
        ("https://h/serving/judge", "https://h/serving/judge/v1/chat/completions", "https://h/serving/judge/info"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions", "https://h/info"),
        (
            "https://x.openai.azure.com/openai/deployments/gpt?api-version=1",
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1",
            "https://x.openai.azure.com/info?api-version=1",
        ),
    ],
)
def test_a_url_may_have_any_form(url: str, chat: str, info: str) -> None:
    assert Address(url).route("/v1/chat/completions") == chat
    assert Address(url).route("/info") == info


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://h", "http://"])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(UserError, match="is no URL of an endpoint"):
        Address(url)


def test_the_key_goes_to_every_route_of_its_endpoint_and_to_no_other(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: said("x"), listing("judge-1"))
    own, other = (Script(lambda number, body: said("x")) for _ in range(2))
    url = serve(script)
    for path in ("", "/v1"):
        check_endpoint(judge(url + path))
        ask(resolve(judge(url + path)))
    ask(serve(own))
    ask(Address(serve(other), "m", ENDPOINT_KEY))
    assert {path for _, path, _ in script.asked} == {"/info", "/v1/models", "/v1/chat/completions"}
    assert {headers.get("Authorization") for _, _, headers in script.asked} == {f"Bearer {KEY}"}
    assert not any("Authorization" in headers for headers in own.headers)
    assert [headers["Authorization"] for headers in other.headers] == ["Bearer sk-of-another"]


def test_without_a_key_nothing_is_sent_for_one(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: said("x"))
    ask(Address(serve(script), "m", ANNOTATOR_KEY))
    assert "Authorization" not in script.headers[0]


def test_azure_gets_the_key_under_its_own_name() -> None:
    assert judge("https://x.openai.azure.com/openai/v1").headers()["api-key"] == KEY
    assert "api-key" not in judge("https://h/v1").headers()


def test_a_key_with_a_line_break_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JUDGE_KEY, f"{KEY}\n")
    assert judge("http://h").key() == KEY
    monkeypatch.setenv(JUDGE_KEY, f"{KEY}\n{KEY}")
    with pytest.raises(UserError, match="SRLM_JUDGE_API_KEY") as refused:
        judge("http://h").headers()
    assert KEY not in str(refused.value)


def test_neither_key_nor_password_is_told(serve: Callable[[Script], str], capsys: pytest.CaptureFixture[str]) -> None:
    """A server may repeat the key that it refuses; a URL may hold a password."""
    refusal = 401, {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}
    address = judge(serve(Script(lambda number, body: refusal)).replace("http://", "http://me:secret@"), "m")
    with pytest.raises(UserError, match="SRLM_JUDGE_API_KEY") as refused:
        ask(address)
    with pytest.raises(UserError) as checked:
        check_endpoint(address)
    told = f"{refused.value} {checked.value} {address!r} {capsys.readouterr()}"
    assert KEY not in told
    assert "secret" not in f"{refused.value} {checked.value} {address.shown}"


def test_a_redirect_to_another_host_takes_neither_key_nor_prompt(serve: Callable[[Script], str]) -> None:
    other = Script(lambda number, body: said("x"))
    place = serve(other)
    script = Script(lambda number, body: (307, "", {"Location": f"{place}/v1/chat/completions"}))
    with pytest.raises(UserError, match=f"sends its callers elsewhere, to {place}"):
        ask(judge(serve(script), "m"))
    assert other.asked == []


def test_a_redirect_within_the_host_is_followed(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: (307, "", {"Location": "/v1/chat/completions/"}) if number == 1 else said("x"))
    assert ask(judge(serve(script), "m"))[0].text == "x"
    assert [headers["Authorization"] for headers in script.headers] == [f"Bearer {KEY}"] * 2


def test_the_only_model_is_the_one_that_is_meant(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: said("x"), listing("judge-1"))
    ask(resolve(judge(serve(script))))
    assert script.bodies[0]["model"] == "judge-1"


def test_several_models_are_named_and_one_must_be_chosen(serve: Callable[[Script], str]) -> None:
    url = serve(Script(lambda number, body: said("x"), listing("small", "large")))
    with pytest.raises(UserError, match=r"serves several models: small, large.*--judge-model"):
        answering_model("", judge(url))
    assert resolve(judge(url, "large")).model == "large"


def test_several_names_of_one_model_are_one_model(serve: Callable[[Script], str]) -> None:
    """vLLM's --served-model-name takes several, and lists each; an adapter of it has another root."""
    assert resolve(judge(serve(Script(lambda *_: said("x"), listing("m", "dummy", root="/models/m"))))).model == "m"
    adapter = listing("m", root="/models/m")
    adapter["/v1/models"]["data"].append({"id": "tuned", "root": "/adapters/tuned", "parent": "m"})
    with pytest.raises(UserError, match="several models: m, tuned"):
        resolve(judge(serve(Script(lambda *_: said("x"), adapter))))


def test_a_name_that_is_not_there_is_said_before_any_work(serve: Callable[[Script], str]) -> None:
    refusal = 404, {"error": {"message": "The model `huge` does not exist.", "type": "NotFoundError", "code": 404}}
    url = serve(Script(lambda number, body: refusal, listing("small", "large")))
    with pytest.raises(UserError, match=r"refused the model's name 'huge'.*--judge-model"):
        check_endpoint(judge(url, "huge"))


def test_where_nothing_is_listed_one_question_tells(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: said("x"), {})
    info = endpoint_info(judge(serve(script), "gpt-9"))
    assert info["model_id"] == "gpt-9"
    assert len(script.bodies) == 1
    with pytest.raises(UserError, match="does not answer"):
        endpoint_info(serve(Script(lambda number, body: (502, "bad gateway"), {})))


def pinned(listed: Any, told: str = "/models/m1@main") -> Script:
    """As `transformers serve /models/m1`: it takes that name, or none, but tells another in its answers; its list of
    models is broken."""

    def answer(_: int, body: dict[str, Any]) -> tuple[int, Any]:
        if body.get("model", "/models/m1") != "/models/m1":
            return 400, {"detail": f"Server is pinned to '/models/m1'; requested '{body['model']}'."}
        status, made = said("yes")
        return status, made | {"model": told}

    return Script(answer, {} if listed is None else {"/v1/models": listed})


@pytest.mark.parametrize("listed", [None, "Internal Server Error", {"object": "list", "data": []}])
@pytest.mark.parametrize("own", [True, False])
def test_a_server_that_knows_no_name_but_its_own_is_asked_without_one(
    serve: Callable[[Script], str], listed: Any, own: bool
) -> None:
    """Also where a command of the run started it. The first request finds out, for all of them."""
    script = pinned(listed)
    url = serve(script)
    address = resolve(url if own else judge(url))
    assert [one.text for one in ask(address, texts=("a", "b", "c"))] == ["yes"] * 3
    assert ["model" in body for body in script.bodies[-3:]] == [False] * 3
    assert endpoint_info(address)["model_id"] == "/models/m1@main"


def test_a_name_that_is_given_is_never_left_out(serve: Callable[[Script], str]) -> None:
    """What another model answers would be taken for the judge's."""
    script = pinned(None)
    url = serve(script)
    for try_it in (lambda: check_endpoint(judge(url, "gpt-9")), lambda: ask(judge(url, "gpt-9"))):
        with pytest.raises(UserError, match=r"model's name 'gpt-9'.*pinned to '/models/m1'"):
            try_it()
    assert all(body["model"] == "gpt-9" for body in script.bodies)


def test_a_server_that_answers_with_an_error_is_not_called_away(serve: Callable[[Script], str]) -> None:
    """`transformers serve` without a model: status 500 to everything but a name that it can load."""
    script = Script(lambda _, body: said("yes") if body.get("model") == "m" else (500, "Internal Server Error"), {})
    url = serve(script)
    with pytest.raises(UserError, match="does not answer a question") as error:
        check_endpoint(judge(url))
    assert "--judge-model" in error.value.remedy
    check_endpoint(judge(url, "m"))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, {"error": "Unauthorized"}), "refused the key"),
        ((200, "<html><title>Sign in</title></html>"), "a web page, such as a login page, and not with JSON"),
        ((404, {"detail": "Not Found"}), "does not answer as OpenAI's API does"),
        ((402, {"error": "no money"}), "no credit is left"),
        ((400, {"error": {"message": "the tokenizer does not define a chat template"}}), "no chat template"),
    ],
)
def test_what_concerns_every_request_is_said_before_any_work(
    serve: Callable[[Script], str], answer: Any, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        check_endpoint(judge(serve(Script(lambda number, body: answer, listing("m")))))


def test_the_identity_is_the_model_and_not_the_place(serve: Callable[[Script], str]) -> None:
    def served(*names: str, **more: Any) -> str:
        return serve(Script(lambda number, body: said("x"), listing(*names, **more)))

    first = endpoint_identity(judge(served("m")))
    assert endpoint_identity(judge(served("m"))) == first
    assert endpoint_identity(judge(served("m", "n"), "m")) == first
    assert endpoint_identity(judge(served("m", "n"), "n")) != first
    assert endpoint_identity(judge(served("m", revision="2"))) != first


def test_arguments_of_the_template_there_are_sent_and_are_part_of_what_it_is(serve: Callable[[Script], str]) -> None:
    """Another way to think is another judge; without arguments nothing is sent, and the identity is what it was."""
    script = Script(lambda number, body: said("x"), listing("m"))
    plain = judge(serve(script), "m")
    quiet = replace(plain, template_arguments=(("enable_thinking", False),))
    ask(plain)
    ask(quiet)
    assert "chat_template_kwargs" not in script.bodies[0]
    assert script.bodies[1]["chat_template_kwargs"] == {"enable_thinking": False}
    assert endpoint_identity(quiet) != endpoint_identity(plain)


def test_the_recipe_s_arguments_reach_judge_and_annotator_in_every_step() -> None:
    """Also the processes that train and ask the judge, which are started with text alone."""
    recipe: Any = {"serving": {"judge_template_kwargs": {"enable_thinking": False, "budget": 512.0}}}
    recipe["serving"]["annotator_template_kwargs"] = {"effort": "low"}
    context: Any = SimpleNamespace(
        judge_endpoint="http://j", judge_model="", annotator_endpoint="http://a", annotator_model="", recipe=recipe,
        section=lambda name, settings: settings(**recipe[name]),
    )  # fmt: skip
    at_judge, at_annotator = judge_of(context), annotator_of(context)
    assert at_judge and at_annotator
    assert at_judge.template_arguments == (("enable_thinking", False), ("budget", 512))
    assert at_annotator.template_arguments == (("effort", "low"),)
    passed = DpoInputs("m", "p", judge_endpoint="http://j", judge_arguments=json.dumps(at_judge.template_arguments))
    assert passed.judge and passed.judge.template_arguments == at_judge.template_arguments


def refuses(parameter: str, message: str, code: str = "unsupported_parameter") -> Script:
    error = {"error": {"message": message, "param": parameter, "code": code}}
    return Script(lambda number, body: (400, error) if parameter in body else said("x END y"))


def test_max_tokens_by_another_name(serve: Callable[[Script], str], capsys: pytest.CaptureFixture[str]) -> None:
    """Of three requests the first is refused once; a second stage in the same process knows it already."""
    script = refuses(
        "max_tokens", "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    url = serve(script)
    ask(judge(url, "o"), texts=("a", "b", "c"))
    ask(judge(url, "o"))
    assert [body.get("max_completion_tokens") for body in script.bodies] == [None, 16, 16, 16, 16]
    assert capsys.readouterr().err.count("max_completion_tokens: asking so") == 1


@pytest.mark.parametrize("parameter", ["seed", "stop"])
def test_what_can_be_left_out_is_left_out_and_told(
    serve: Callable[[Script], str], capsys: pytest.CaptureFixture[str], parameter: str
) -> None:
    script = refuses(parameter, f"Unsupported parameter: '{parameter}' is not supported with this model.")
    completions = ask(judge(serve(script), "o"), texts=("a", "b"))
    assert [made.text for made in completions] == ["x ", "x "]  # cut here, too
    assert [parameter in body for body in script.bodies] == [True, False, False]
    assert capsys.readouterr().err.count("warning") == 1


@pytest.mark.parametrize("parameter", ["temperature", "top_p"])
def test_what_would_change_the_draw_is_refused(serve: Callable[[Script], str], parameter: str) -> None:
    script = refuses(parameter, f"Unsupported value: '{parameter}' does not support it.", "unsupported_value")
    with pytest.raises(UserError, match=f"the recipe's {parameter} cannot be had there.*Set to 1"):
        ask(judge(serve(script), "o"))
    assert ask(judge(serve(script), "o"), Sampling(1.0, 1.0, 16))[0].text.startswith("x")


def test_a_template_without_a_system_role_gets_its_text_from_the_user(serve: Callable[[Script], str]) -> None:
    def answer(number: int, body: dict[str, Any]) -> Any:
        refusal = {"error": {"message": "System role not supported", "code": 400}}
        return (400, refusal) if body["messages"][0]["role"] == "system" else said("x")

    script = Script(answer)

    async def once() -> Completion:
        client = Client(judge(serve(script), "gemma"), QUICK)
        messages = [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "Judge."}]
        made = await client.complete(Request("id", messages, WARM, 7))
        await client.close()
        return made

    assert asyncio.run(once()).text == "x"
    assert script.bodies[-1]["messages"] == [{"role": "user", "content": "Be fair.\n\nJudge."}]


def test_one_request_that_is_refused_is_a_record(serve: Callable[[Script], str]) -> None:
    """The first is refused, for a reason that nobody knows: a question of another text shows that it is its own."""
    refusal = 400, {"error": {"message": "this prompt makes me sad"}}
    script = Script(lambda number, body: refusal if "sad" in body["messages"][0]["content"] else said("x"))
    made = ask(judge(serve(script), "m"), texts=("sad", "hi", "sad too"))
    assert [m.finish_reason for m in made] == ["refused by the endpoint", "stop", "refused by the endpoint"]
    assert len(script.bodies) == 5


def test_requests_that_are_all_refused_end_the_stage(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: (400, {"error": {"message": "nothing today"}}))
    with pytest.raises(UserError, match="nothing today"):
        ask(judge(serve(script), "m"), texts=("a", "b"))
    assert len(script.bodies) == 2


@pytest.mark.parametrize(
    ("answer", "finish_reason"),
    [
        ((400, {"error": {"code": "content_filter", "message": "The response was filtered"}}), "content_filter"),
        ((413, {"error": "Request Entity Too Large"}), "prompt_too_long"),
        (said("Half a", "content_filter"), "content_filter"),
        (said("<think>hm", "stop"), "no answer after its reasoning"),
    ],
)
def test_what_one_request_has_no_answer_for_is_named(
    serve: Callable[[Script], str], answer: Any, finish_reason: str
) -> None:
    made = ask(judge(serve(Script(lambda number, body: answer)), "m"))[0]
    assert (made.text, made.finish_reason) == ("", finish_reason)


def test_a_thought_is_kept_beside_the_text_and_its_tokens_are_no_verdict(serve: Callable[[Script], str]) -> None:
    thought = said("<think>M is better</think>\nm", logprobs=[("<think>", -0.1), ("M", -3.0)])
    made = ask(judge(serve(Script(lambda number, body: thought)), "m"), Sampling(0, 1, 16, top_logprobs=5))[0]
    assert (made.text, made.reasoning, made.first_token) == ("m", "M is better", None)
