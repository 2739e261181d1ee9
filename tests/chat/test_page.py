"""The chat page in a real Chromium: what people do with it, and what hostile model output cannot do to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Backend, running
from .scripted import Scripted

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "data" / "hostile_strings.json"
PHONE = {"width": 390, "height": 800}
WAIT_MS = 60_000  # for what is sure to come: beside every other suite on two cores it may take a while
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except sync_api.Error as missing:
            pytest.skip(f"no Chromium here: {str(missing).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running(tmp_path_factory.mktemp("page"), responder=Scripted()) as started:
        yield started


names = iter(range(1000))


@pytest.fixture
def person(backend: Backend) -> Any:
    return backend.person(f"page{next(names)}")


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    fresh = opened(browser)
    yield fresh
    fresh.close()
    assert [fault for fault in fresh.faults if not any(word in fault for word in fresh.expected)] == []


def opened(browser: Any, **options: Any) -> Any:
    """A window that remembers what its pages complained about; `expected` are the complaints a test provokes."""
    fresh = browser.new_context(**options)
    fresh.set_default_timeout(WAIT_MS)
    fresh.faults, fresh.expected = [], []
    fresh.on("weberror", lambda fault: fresh.faults.append(str(fault.error)))
    fresh.on("console", lambda told: fresh.faults.append(told.text) if told.type in ("error", "warning") else None)
    return fresh


def enter(context: Any, person: Any, path: str = "/chat/") -> Any:
    page = context.new_page()
    page.goto(f"{person.address}{path}#token={person.token}")
    sync_api.expect(page.locator("#who")).to_contain_text(person.name)
    return page


def say(page: Any, text: str) -> None:
    page.locator("#message").fill(text)
    page.locator("#message").press("Enter")


def answers(page: Any) -> Any:
    return page.locator(".assistant .text")


def expect(locator: Any) -> Any:
    return sync_api.expect(locator)


sync_api.expect.set_options(timeout=WAIT_MS)


def test_a_link_signs_in_and_leaves_no_token_behind(context: Any, person: Any) -> None:
    page = enter(context, person)
    assert "token" not in page.url and page.evaluate("document.cookie") == ""
    assert page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
    again = context.new_page()
    again.goto(f"{person.address}/chat/")
    expect(again.locator("#who")).to_contain_text(person.name)


def test_a_link_with_somebody_elses_token_does_not_quietly_switch_accounts(
    context: Any, person: Any, backend: Backend
) -> None:
    page, other = enter(context, person), backend.person("intruder")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto(f"{other.address}/chat/?again#token={other.token}")
    expect(page.locator("#who")).to_contain_text(person.name)
    assert len(asked) == 1 and "intruder" in asked[0]


def test_without_a_token_the_page_asks_for_one(context: Any, person: Any) -> None:
    context.expected = ["status of 401"]
    page = context.new_page()
    page.goto(f"{person.address}/")
    expect(page.locator("#door")).to_be_visible()
    page.locator("#token").fill("nonsense")
    page.locator("#token").press("Enter")
    expect(page.locator("#refused")).to_contain_text("valid token")
    page.locator("#token").fill(person.token)
    page.locator("#token").press("Enter")
    expect(page.locator("#who")).to_contain_text(person.name)


def test_an_answer_streams_as_text_and_ends_as_safe_markdown(context: Any, person: Any) -> None:
    page = enter(context, person)
    say(page, "say **Hello** `code`\n\n- one\n- two\n\n[link](https://example.com) ![pic](https://example.com/p.png)")
    expect(page.locator(".assistant strong")).to_have_text("Hello")
    expect(page.locator(".assistant li")).to_have_count(2)
    link = page.locator(".assistant .text a").first
    assert link.get_attribute("rel") == "noopener noreferrer nofollow" and page.locator(".assistant img").count() == 0
    expect(page.locator("#title")).to_have_value(re.compile("say"))
    expect(page.locator("#threads a")).to_have_count(1)


def test_who_leaves_leaves_nothing_behind(context: Any, person: Any) -> None:
    page = enter(context, person)
    say(page, "a secret")
    expect(answers(page)).to_have_text("You said a secret.")
    page.locator("#leave").click()
    expect(page.locator("#door")).to_be_visible()
    assert "secret" not in page.content() and context.cookies() == []
    page.reload()
    expect(page.locator("#door")).to_be_visible()


def test_an_answer_can_be_copied_as_it_was_written(context: Any, person: Any) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = enter(context, person)
    say(page, "say **Hello** `code`")
    page.locator(".copy").click()
    expect(page.locator(".copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "**Hello** `code`"


def test_the_demo_says_what_it_is_and_what_to_try(browser: Any, context: Any, tmp_path: Path) -> None:
    with running(tmp_path) as backend:
        page = enter(context, backend.person())
        expect(page.locator("#badge")).to_contain_text("not AI")
        expect(page.locator("#none")).to_be_visible()
        page.locator("#ideas button").first.click()
        expect(answers(page)).to_contain_text("Added: 1. buy milk")
        expect(page.locator("#none")).to_be_hidden()
        expect(page.locator("#hello")).to_be_hidden()


def test_tool_calls_are_shown_with_what_went_in_and_came_out(context: Any, person: Any) -> None:
    page = enter(context, person)
    say(page, "tool")
    tool = page.locator(".tool")
    expect(tool.locator("summary")).to_contain_text("done")
    tool.locator("summary").click()
    expect(tool.locator("pre").first).to_contain_text('"what": "tool"')
    expect(tool.locator("pre").last).to_contain_text('"found": true')
    expect(answers(page)).to_contain_text("Found.")
    page.reload()
    expect(page.locator(".tool summary")).to_contain_text("done")


def test_escape_stops_and_try_again_answers_again(context: Any, person: Any) -> None:
    page = enter(context, person)
    say(page, "slow 100000")
    expect(answers(page)).to_contain_text("w3")
    page.keyboard.press("Escape")
    expect(page.locator(".assistant .mark")).to_have_text("Stopped.")
    expect(page.locator("#send")).to_be_visible()
    assert "w3" in answers(page).inner_text()
    page.locator(".again").click()
    expect(page.locator(".writing")).to_have_count(1)
    page.locator("#stop").click()
    expect(page.locator(".assistant .mark")).to_have_text("Stopped.")
    expect(page.locator(".user")).to_have_count(1)


def test_a_reload_in_the_middle_loses_and_repeats_nothing(context: Any, person: Any) -> None:
    page = enter(context, person)
    say(page, "slow 80")
    expect(answers(page)).to_contain_text("w5")
    page.reload()
    expect(answers(page)).to_contain_text("w6")
    expect(page.locator(".writing")).to_have_count(0)
    assert answers(page).inner_text().split() == [f"w{number}" for number in range(80)]
    expect(page.locator(".message")).to_have_count(2)


def test_a_second_tab_shows_the_same_answer_being_written(context: Any, person: Any) -> None:
    page = enter(context, person)
    say(page, "slow 100")
    expect(answers(page)).to_contain_text("w2")
    other = context.new_page()
    other.goto(page.url)
    expect(answers(other)).to_contain_text("w30")
    expect(other.locator(".writing")).to_have_count(0)
    expect(page.locator(".writing")).to_have_count(0)
    assert answers(other).inner_text() == answers(page).inner_text()


def test_a_failure_says_so_keeps_what_came_and_offers_another_try(context: Any, person: Any) -> None:
    page = enter(context, person)
    say(page, "fail")
    expect(page.locator(".assistant .mark")).to_have_text("The agent failed.")
    expect(answers(page)).to_contain_text("Half an ans")
    expect(page.locator(".again")).to_be_visible()
    page.reload()
    expect(page.locator(".assistant .mark")).to_have_text("The agent failed.")
    expect(page.locator(".again")).to_be_visible()


def test_a_message_that_cannot_be_sent_stays_in_the_box(context: Any, person: Any) -> None:
    page = enter(context, person)
    context.expected = ["ERR_FAILED"]
    context.route("**/chat/stream", lambda route: route.abort())
    say(page, "do not lose me")
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    expect(page.locator("#message")).to_have_value("do not lose me")
    expect(page.locator(".message")).to_have_count(0)


def test_a_connection_that_breaks_is_taken_up_again(context: Any, person: Any) -> None:
    page = enter(context, person)

    def cut(route: Any) -> None:
        run = json.loads(route.fetch().text().splitlines()[0])  # the server writes on; the page sees one line
        route.fulfill(status=200, content_type="application/x-ndjson", body=json.dumps(run) + "\n")

    context.route("**/chat/stream", cut)
    say(page, "slow 20")
    expect(answers(page)).to_contain_text("w19")
    expect(page.locator(".writing")).to_have_count(0)
    assert answers(page).inner_text().split() == [f"w{number}" for number in range(20)]


def test_conversations_can_be_found_renamed_and_deleted(context: Any, person: Any) -> None:
    first = person.said("the first one")["conversation_id"]
    page = enter(context, person)
    say(page, "the second one")
    expect(page.locator("#threads a")).to_have_count(2)
    page.locator("#threads a", has_text="the first one").click()
    expect(page.locator(".user .text")).to_have_text("the first one")
    assert page.url.endswith(f"?c={first}")
    page.locator("#title").fill("Renamed")
    page.locator("#title").press("Enter")
    expect(page.locator("#threads a").last).to_have_text("Renamed")
    page.go_back()
    expect(page.locator(".user .text")).to_have_text("the second one")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#delete").click()
    expect(page.locator("#threads a")).to_have_count(1)
    expect(page.locator("#hello")).to_be_visible()


def test_what_is_typed_while_a_conversation_loads_is_not_lost(context: Any, person: Any) -> None:
    conversation = person.said("the first one")["conversation_id"]

    held: list[Any] = []
    context.route("**/messages", lambda route: held.append(route))
    page = enter(context, person, f"/chat/?c={conversation}")
    say(page, "too early")
    expect(page.locator("#message")).to_have_value("too early")
    held[0].continue_()
    expect(page.locator(".user")).to_have_count(1)
    page.locator("#message").press("Enter")
    expect(answers(page).last).to_have_text("You said too early.")


def test_long_histories_come_in_pages(context: Any, person: Any) -> None:
    conversation = person.said("message 0")["conversation_id"]
    for number in range(1, 30):
        person.said(f"message {number}", conversation)
    page = enter(context, person, f"/chat/?c={conversation}")
    expect(page.locator(".user")).to_have_count(25)
    page.locator("#earlier").click()
    expect(page.locator(".user")).to_have_count(30)
    assert page.locator(".user .text").all_inner_texts() == [f"message {number}" for number in range(30)]


def test_on_a_phone_everything_fits_and_the_conversations_slide_in(browser: Any, person: Any) -> None:
    context = opened(browser, viewport=PHONE, has_touch=True, is_mobile=True)
    page = enter(context, person)
    say(page, f"say {'x' * 300} {'word ' * 40}")
    expect(page.locator(".writing")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.locator("#new")).not_to_be_in_viewport()
    page.locator("#menu").tap()
    expect(page.locator("#threads a")).to_be_in_viewport()
    for control in ("#menu", "#send", "#delete"):
        box = page.locator(control).bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44
    context.close()


def test_the_keyboard_is_enough(context: Any, person: Any) -> None:
    page = enter(context, person)
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("line one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("line two")
    page.keyboard.press("Enter")
    expect(page.locator(".user .text")).to_have_text("line one\nline two")
    expect(page.locator("#message")).to_be_focused()


def test_no_accessibility_faults(browser: Any, person: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for scheme in ("light", "dark"):
        context = opened(browser, bypass_csp=True, color_scheme=scheme)
        page = enter(context, person)
        blank = axe.Axe().run(page).response["violations"]
        assert [fault["id"] for fault in blank] == []
        say(page, "tool")
        expect(page.locator(".tool summary")).to_contain_text("done")
        expect(page.locator(".writing")).to_have_count(0)
        found = axe.Axe().run(page).response["violations"]
        assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found] == []
        context.close()


# -- hostile model output ----------------------------------------------------------------------------------------------
WATCH = "window.__hits = []; window.__xss = n => { window.__hits.push(n) };"


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, Any]]:
    if not CORPUS.is_file():
        pytest.skip("the corpus of hostile strings is not beside the checkout")
    payloads = json.loads(CORPUS.read_text())["payloads"]
    for one in payloads:
        text = one["payload"] if isinstance(one["payload"], str) else json.dumps(one["payload"])
        one["text"] = text.replace("{{JS}}", f"__xss({one['n']})").replace(
            "{{B}}", f"http://127.0.0.1:9/beacon/{one['n']}"
        )
    return payloads


def watched(browser: Any, beacons: list[str], **options: Any) -> Any:
    context = opened(browser, **options)
    context.add_init_script(WATCH)

    def note(route: Any) -> None:
        beacons.append(route.request.url)
        route.abort()

    context.route(re.compile("/beacon/"), note)
    return context


def hits(page: Any) -> list[int]:
    return [hit for frame in page.frames for hit in frame.evaluate("window.__hits || []")]


def test_the_corpus_is_live_in_a_naive_page(browser: Any, corpus: list[dict[str, Any]]) -> None:
    beacons: list[str] = []
    context = watched(browser, beacons)
    page = context.new_page()
    page.goto("about:blank")
    live = 0
    for one in [one for one in corpus if one["control"] and one["ctx"] == "html" and one["trigger"] == "auto"][:25]:
        try:
            page.evaluate(
                "html => { window.__hits = []; document.open(); document.write(html); document.close() }", one["text"]
            )
            page.wait_for_timeout(30)
            live += bool(page.evaluate("(window.__hits || []).length")) or bool(beacons)
        except sync_api.Error:  # it took the page somewhere else: as live as can be
            page = context.new_page()
            live += 1
        beacons.clear()
    context.close()
    assert live >= 12, "the harness must see what is live"


def test_hostile_output_never_runs(browser: Any, backend: Backend, corpus: list[dict[str, Any]]) -> None:
    person = backend.person("corpus")
    beacons: list[str] = []
    context = watched(browser, beacons)
    page = enter(context, person)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    say(page, "say start")
    expect(page.locator(".writing")).to_have_count(0)
    expect(answers(page)).to_have_text("start")
    conversation = int(page.url.rpartition("=")[2])
    # streamed live, as model output and as the user's own words at once
    texts = [one["text"] for one in corpus if one["text"].strip() and "\0" not in one["text"]]
    for number, text in enumerate(texts[::3]):
        shown = page.locator(".message").count()
        say(page, f"{('say', 'blurt')[number % 2]} {text}")
        expect(page.locator(".message")).to_have_count(shown + 2)
        expect(page.locator("#send")).to_be_visible()
        expect(page.locator(".writing")).to_have_count(0)
    # and stored, each of them, then shown as history
    for text in texts:
        answer = person.say(f"say {text}", conversation)
        assert answer.status_code in (200, 422), answer.text
    person.http.patch(f"{person.base}/conversations/{conversation}", json={"title": texts[0][:200]})
    page.goto(f"{person.address}/chat/?c={conversation}")
    expect(page.locator(".message").first).to_be_visible()
    while page.locator("#earlier").is_visible():
        before = page.locator(".message").count()
        page.locator("#earlier").click()
        expect(page.locator(".message")).not_to_have_count(before)
    assert page.locator(".message").count() >= 2 * len(texts)
    assert hits(page) == [] and beacons == [] and dialogs == []
    assert (
        page.locator(
            "#log :is(script, iframe, object, embed, style, link, meta, img, svg:not(.i), form, input)"
        ).count()
        == 0
    )
    assert page.evaluate("[...document.querySelectorAll('#log .text *')].every(e => [...e.attributes].every(a => "
                         "['href', 'rel', 'target', 'title', 'start'].includes(a.name)))")  # fmt: skip
    links = page.evaluate("[...document.querySelectorAll('#log .text a')].map(a => a.protocol)")
    assert set(links) <= {"http:", "https:", "mailto:"}
    # every element is hovered, focused and clicked; links open elsewhere and are held back
    context.route(re.compile(r"^(?!http://127\.0\.0\.1:\d+/(chat|api))"), lambda route: route.abort())
    page.evaluate("""() => { for (const e of document.querySelectorAll('#log .text *')) {
        for (const kind of ['mouseover', 'pointerover', 'focus', 'click', 'toggle'])
            e.dispatchEvent(new Event(kind, { bubbles: true, cancelable: true })); } }""")
    page.wait_for_timeout(200)
    assert hits(page) == [] and dialogs == []
    say(page, "say still here")
    expect(answers(page).last).to_have_text("still here")
    assert [fault for fault in context.faults if "Failed to load" not in fault] == []
    context.close()


def test_hostile_tool_results_and_titles_are_only_text(browser: Any, backend: Backend) -> None:
    class Hostile(Scripted):
        async def _play(self, turn: Any) -> Any:
            from agentsight.chat.responder import Text, ToolCall, ToolResult

            evil = "<img src=x onerror=__xss(1)>"
            yield ToolCall("c", evil, {evil: evil})
            yield ToolResult("c", {evil: [evil]}, is_error=True)
            yield Text(evil)

    runs = backend.app.state.chat.runs
    before, runs.responder = runs.responder, Hostile()
    try:
        context = watched(browser, [])
        page = enter(context, backend.person("hostile"))
        say(page, "<img src=x onerror=__xss(2)>")
        expect(page.locator(".tool.error")).to_have_count(1)
        expect(page.locator(".writing")).to_have_count(0)
        page.reload()
        expect(page.locator(".tool.error")).to_have_count(1)
        assert hits(page) == [] and page.locator("#log img, #threads img").count() == 0
        context.close()
    finally:
        runs.responder = before
