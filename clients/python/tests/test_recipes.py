"""Every page of docs/recipes, played against fresh services: what a page shows is what happens."""

import http.client
import pathlib
import subprocess
import unittest

from tests import recipes
from tests.harness import BINARIES, ROOT, Services, channel, quiet_port

PAGES = ROOT / "docs/recipes"


class Stage(recipes.Player):
    """Services and mail, with the commands that pages use."""

    def __init__(self, services: Services):
        self.services = services
        self.services.mails("anna")
        gmail = services.start([str(BINARIES / "examples/fake_gmail"), "127.0.0.1:0"], "gmail")
        self.google = gmail.until("serving").rpartition("=")[2]
        scheduler, library = quiet_port(), quiet_port()
        services.service("scheduler-svc", scheduler)
        keys = services.folder / "keys"
        own = {"DOCKET_CREDENTIALS__KEY_FILE": str(keys)}
        made = [str(BINARIES / "worker-svc"), "keys", "create"]
        subprocess.run(made, env=own, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        services.service("worker-svc", library, own | {
            "DOCKET_SCHEDULER__URL": f"http://127.0.0.1:{scheduler}",
            "DOCKET_WORKER__ID": "w1",
            "DOCKET_SOURCES__FOLDER_ROOT": str(services.folder / "mail"),
            "DOCKET_OAUTH__GOOGLE__CLIENT_ID": "fake-client",
            "DOCKET_OAUTH__GOOGLE__CLIENT_SECRET": "fake-secret",
            "DOCKET_OAUTH__GOOGLE__TOKEN_URL": f"http://{self.google}/token",
            "DOCKET_OAUTH__GOOGLE__API_URL": f"http://{self.google}",
        })  # fmt: skip
        super().__init__({7310: channel(scheduler), 7320: channel(library)})

    def consent(self, address, token):
        """The user consents at the provider: `token` is the app's refresh token, and no other holds."""
        self.admin("accounts", f'{{"address": "{address}", "refresh_token": "{token}"}}')

    def deliver(self, address, name):
        """The sample mails of `name` arrive."""
        for mail in sorted((ROOT / "tests/fixtures/mails" / name).iterdir()):
            self.admin(f"messages?address={address}", mail.read_bytes())

    def revoke(self, token):
        """The user takes the consent back."""
        self.admin("settings", f'{{"revoke": "{token}"}}')

    def sync(self, schedule_id):
        """A run begins and ends, as its time would have it."""
        trigger = "docket.schedule.v1.ScheduleService/TriggerSchedule"
        run = self.call(recipes.Call(f'{{"schedule_id": "{schedule_id}"}}', 7310, trigger))["run"]
        get = "docket.schedule.v1.RunService/GetRun"
        self.call(recipes.Call(f'{{"run_id": "{run["runId"]}", "wait": "30s"}}', 7310, get))

    def admin(self, path, body):
        connection = http.client.HTTPConnection(self.google)
        connection.request("POST", f"/admin/{path}", body)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()


class RecipesTest(unittest.TestCase):
    def play(self, page: pathlib.Path):
        services = Services()
        self.addCleanup(services.close)
        stage = Stage(services)
        for calls in stage.channels.values():
            self.addCleanup(calls.close)
        for line, step in recipes.read(page):
            try:
                stage.play(step)
            except Exception as error:
                raise AssertionError(f"{page.name}:{line}: {error}") from error


def played(page):
    return lambda self: self.play(page)


for page in sorted(PAGES.glob("*.md")):
    if page.name != "README.md":
        setattr(RecipesTest, f"test_{page.stem.replace('-', '_')}", played(page))


class PagesTest(unittest.TestCase):
    def test_every_page_is_short_and_in_the_index(self):
        index = (PAGES / "README.md").read_text()
        pages = [page for page in PAGES.glob("*.md") if page.name != "README.md"]
        self.assertGreater(len(pages), 0)
        for page in pages:
            self.assertIn(f"({page.name})", index)
            self.assertLessEqual(len(recipes.shown(page).splitlines()), 60, page.name)
            self.assertTrue(any(isinstance(step, recipes.Answer) for _, step in recipes.read(page)), page.name)

    def test_a_page_that_shows_something_else_is_found_out(self):
        player = recipes.Player({})
        got = {"run": {"runId": "0-ab-s7", "attempts": [{"attempt": 1}, {"attempt": 2}]}}
        player.compare({"run": {"runId": "0-<run>-s…"}}, got, "")
        self.assertEqual(player.filled("<run>"), "ab")
        player.compare({"run": {"runId": "…<run>…", "attempts": [{"attempt": 1}, "…"]}}, got, "")
        for shown in [
            {"run": {"runId": "0-<run>-s8"}},
            {"run": {"attempts": [{"attempt": 1}]}},
            {"run": {"attempts": [{"attempt": 1}, {"attempt": 3}]}},
            {"run": {"state": "RUN_STATE_FAILED"}},
            {"run": {"runId": 0}},
            {"run": {}},
            {},
        ]:
            with self.assertRaises(AssertionError, msg=str(shown)):
                player.compare(shown, got, "")


if __name__ == "__main__":
    unittest.main()
