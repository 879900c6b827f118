"""How the page looks: dark, for rooms in which microscopes stand."""

from __future__ import annotations

from bokeh.themes import Theme

BACKGROUND, PANEL, LINE, TEXT, FAINT = "#14171c", "#1b2028", "#333b47", "#e6e9ee", "#97a1b0"
# hues that most eyes tell apart, colour-blind ones too (after Okabe and Ito)
HUES = ("#56b4e9", "#e69f00", "#33c08d", "#ee82b9", "#f0e442", "#9db2ff", "#ff7f6b", "#b8e986")
ACCENT, TARGET, WARNING = HUES[0], HUES[1], HUES[6]
STATUS_COLOURS = {
    "running": "#2fbf71",
    "waiting": "#7f8b9c",
    "paused": "#e6a700",
    "stopped": "#e5484d",
    "disconnected": "#e5484d",
}
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"

THEME = Theme(
    json={
        "attrs": {
            "Plot": {
                "background_fill_color": PANEL,
                "border_fill_color": PANEL,
                "outline_line_color": LINE,
                "toolbar_location": None,
                "min_border_right": 14,
            },
            "Grid": {"grid_line_color": LINE, "grid_line_alpha": 0.6},
            "Axis": {
                "axis_line_color": LINE,
                "major_tick_line_color": LINE,
                "minor_tick_line_color": None,
                "major_label_text_color": FAINT,
                "axis_label_text_color": FAINT,
                "axis_label_text_font_style": "normal",
                "axis_label_text_font_size": "12px",
                "axis_label_standoff": 6,
            },
            "Title": {"text_color": TEXT, "text_font_size": "14px", "text_font_style": "normal"},
            "Legend": {
                "background_fill_alpha": 0,
                "border_line_alpha": 0,
                "label_text_color": TEXT,
                "label_text_font_size": "11px",
                "glyph_width": 16,
                "label_height": 14,
                "glyph_height": 14,
                "padding": 2,
                "spacing": 2,
                "margin": 4,
            },
        }
    }
)

TEMPLATE = f"""
{{% block preamble %}}
<style>
  html, body {{ background: {BACKGROUND}; color: {TEXT}; font-family: {FONT}; margin: 0; }}
  body {{ padding: 12px 16px; box-sizing: border-box; }}
</style>
{{% endblock %}}
"""

HTML_CSS = f"""
:host {{ font-family: {FONT}; font-size: 14px; color: {TEXT}; }}
.bk-clearfix {{ display: block; width: 100%; height: 100%; }}
.status {{ display: inline-block; padding: 6px 14px; border-radius: 6px; color: #0b0d10;
  font-weight: 700; letter-spacing: 0.04em; }}
.what {{ margin-left: 12px; color: {FAINT}; }}
.what b {{ color: {TEXT}; font-weight: 600; }}
.tiles {{ display: flex; flex-wrap: wrap; gap: 10px; }}
.tile {{ background: {PANEL}; border: 1px solid {LINE}; border-radius: 6px; padding: 7px 14px;
  min-width: 78px; }}
.tile .value {{ font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }}
.tile .name {{ color: {FAINT}; font-size: 12px; }}
.tile.bad .value {{ color: {WARNING}; }}
table {{ border-collapse: collapse; width: 100%; font-size: 13px; }}
th {{ text-align: left; color: {FAINT}; font-weight: 500; padding: 2px 8px 4px 0; }}
td {{ padding: 2px 8px 2px 0; border-top: 1px solid {LINE}; vertical-align: top;
  font-variant-numeric: tabular-nums; }}
td:first-child {{ white-space: nowrap; }}
td:last-child {{ overflow-wrap: anywhere; }}
.panel {{ background: {PANEL}; border: 1px solid {LINE}; border-radius: 6px; padding: 8px 12px;
  height: 100%; box-sizing: border-box; overflow-y: auto; }}
.panel h2 {{ font-size: 14px; font-weight: 400; margin: 0 0 6px; }}
.kind {{ font-weight: 600; white-space: nowrap; }}
.faint {{ color: {FAINT}; }}
"""

WIDGET_CSS = f"""
:host {{ font-family: {FONT}; color: {TEXT}; }}
.bk-btn {{ background: {PANEL}; color: {TEXT}; border: 1px solid {LINE}; font-size: 14px; }}
.bk-btn:hover {{ background: {LINE}; color: {TEXT}; }}
.bk-btn.bk-active {{ background: {LINE}; color: {TEXT}; }}
.bk-btn[disabled], .bk-btn[disabled]:hover, select.bk-input[disabled] {{
  background-color: {BACKGROUND} !important; color: {FAINT} !important; opacity: 0.7; }}
select.bk-input {{ background-color: {PANEL}; color: {TEXT}; border: 1px solid {LINE};
  font-size: 14px; }}
label {{ color: {FAINT}; }}
"""
