"""The report page in a real browser, at desktop and phone width, with text that would run if it could."""

import pytest

from nyx_assets.report.writing import write_report
from tests.nyx_assets.report.hostile_home import hostile_home

pytestmark = pytest.mark.browser

SCREENS = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 360, "height": 740, "is_phone": True},
    "phone at night": {"width": 360, "height": 740, "is_phone": True, "is_dark": True},
}
OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"
BROKEN_PICTURES = """
    return [...document.images].filter(e => !e.complete || !e.naturalWidth || !e.alt).map(e => e.src.slice(0, 60))"""
BEYOND_THE_SCREEN = """
    const inside = e => e.closest('.scroll') && !e.matches('.scroll')
    return [...document.body.querySelectorAll('*')]
        .filter(e => !inside(e) && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
        .map(e => e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 40))"""
HARD_TO_READ = """
    const parts = colour => colour.match(/[\\d.]+/g).map(Number)
    const light = colour => parts(colour).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
    const back = e => {
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor
            if (parts(colour).length === 3 || parts(colour)[3] > 0) return colour
        }
        return 'rgb(255, 255, 255)'
    }
    return [...document.body.querySelectorAll('*')]
        .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
        .map(e => {
            const [a, b] = [light(getComputedStyle(e).color), light(back(e))].sort((x, y) => y - x)
            return [(a + 0.05) / (b + 0.05), parseFloat(getComputedStyle(e).fontSize), e.textContent.trim().slice(0, 40)]
        })
        .filter(([contrast, size]) => contrast < 4.5 || size < 12)"""
"""Texts below the contrast of WCAG 2.2, level AA, or smaller than 12 pixels."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    home = hostile_home(tmp_path_factory.mktemp("report") / "home")
    write_report(home, home.report_file, recipe="tiny")
    return home.report_file


@pytest.fixture(params=SCREENS)
def shown(request, browser, page, tmp_path):
    """The page on one screen, all of it unfolded; its picture is saved beside."""
    browser.show_as(**SCREENS[request.param])
    browser.open(page.as_uri())
    browser.run(OPEN_ALL)
    browser.picture(tmp_path / f"{request.param}.png")
    return browser


def test_nothing_reaches_beyond_the_screen(shown):
    assert shown.run(BEYOND_THE_SCREEN) == []
    assert shown.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_every_picture_loads_and_is_described(shown):
    assert shown.run("return document.images.length") >= 20
    assert shown.wait(f"return (() => {{ {BROKEN_PICTURES} }})().length === 0")


def test_text_is_large_enough_and_stands_out(shown):
    assert shown.run(HARD_TO_READ) == []


def test_hostile_text_is_shown_and_does_nothing(shown):
    assert "<script>window.hit = 1</script>" in shown.text()
    assert shown.run("return window.hit === undefined && document.scripts.length === 0")
    assert shown.run("return document.querySelectorAll('main > section').length") >= 7
