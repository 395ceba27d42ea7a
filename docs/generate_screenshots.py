"""Take the pictures of docs/report.md from a page: make demo, then this script (it needs Chromium).

python docs/generate_screenshots.py runs/demo/report.html
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"


def kept(picture: bytes, name: str, width: int | None = None) -> None:
    """Save a picture as WebP, narrowed to `width`."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if width is not None:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.save(IMAGES / name, quality=82)


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


def main(report: Path) -> None:
    """Write docs/images/report-heads.webp and report-phone.webp."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1200, "height": 1000}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        kept(heads(page), "report-heads.webp")
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2)
        phone.goto(report.resolve().as_uri())
        kept(phone.screenshot(), "report-phone.webp", 585)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
