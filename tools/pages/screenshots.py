"""The pictures of docs/report.md, taken of a page that `make demo` wrote. It needs Chromium.

python -m tools.pages screenshots runs/demo/report.html
"""

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright


def pictures(report: str) -> dict[str, bytes]:
    """Heads and attention on a desk, and the first screen on a phone, in the dark."""
    address = Path(report).resolve().as_uri()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1200, "height": 1000}, color_scheme="light")
        page.goto(address)
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2)
        phone.goto(address)
        return {"report-heads.webp": webp(heads(page)), "report-phone.webp": webp(phone.screenshot(), 585)}


def webp(picture: bytes, width: int | None = None) -> bytes:
    """A picture as WebP, narrowed to `width`."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if width is not None:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.save(written := io.BytesIO(), "WEBP", quality=82)
    return written.getvalue()


def heads(page: Page) -> bytes:
    """The grid of heads, and under it the chosen head's maps."""
    page.evaluate("document.querySelectorAll('nav, #heads ~ section:not(#attention)').forEach((e) => e.remove())")
    page.evaluate("document.querySelectorAll('#head-facts, #head-table, #head-name').forEach((e) => e.remove())")
    page.locator("figure:has(#plot-blocks)").evaluate("(e) => e.remove()")
    top, bottom = (page.locator(name).bounding_box() for name in ("#heads", "#attention"))
    assert top is not None
    assert bottom is not None
    scroll = page.evaluate("window.scrollY")
    height = bottom["y"] + bottom["height"] - top["y"]
    clip = {"x": 30, "y": top["y"] + scroll, "width": 1140, "height": height}
    return page.screenshot(full_page=True, clip=clip)  # pyright: ignore[reportArgumentType]
