//! A chart of a few lines as SVG: axes, ticks, legend. The same figures give the same bytes.
//!
//! Written here because it is a page of text: a plotting library would bring fonts and a bitmap stack for it.

use anyhow::Context;
use std::{fmt::Write as _, path::Path};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 58.0;
/// Told apart also without seeing red and green: <https://jfly.uni-koeln.de/color/>.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];

/// How values lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero on.
    Linear,
    /// By powers of ten; what is not above zero is left out.
    Log,
}

/// One axis.
#[derive(Debug)]
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) scale: Scale,
}

/// One line of the chart, its points in the order of x.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

/// An axis with its ends and ticks, in the scale's own unit.
struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Ruler {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let shown = values.filter_map(|value| scale.place(value));
        let (least, most) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (low, high, step) = match scale {
            Scale::Linear => {
                let most = if most > 0.0 { most } else { 1.0 };
                let step = nice(most / 5.0);
                (0.0, (most / step).ceil() * step, step)
            }
            Scale::Log => {
                let (low, high) = if least <= most {
                    (least.floor(), most.ceil())
                } else {
                    (0.0, 1.0)
                };
                (low, if high > low { high } else { low + 1.0 }, 1.0)
            }
        };
        let mut ticks = Vec::new();
        let mut tick = low;
        while tick <= high + step / 1e3 {
            ticks.push(tick);
            tick += step;
        }
        Self {
            scale,
            low,
            high,
            ticks,
        }
    }

    /// Where a value lies, 0 to 1. `None`: nowhere on this scale.
    fn part(&self, value: f64) -> Option<f64> {
        Some(self.part_of(self.scale.place(value)?))
    }

    fn part_of(&self, place: f64) -> f64 {
        (place - self.low) / (self.high - self.low)
    }

    fn label(&self, tick: f64) -> String {
        let value = match self.scale {
            Scale::Linear => tick,
            Scale::Log => 10_f64.powf(tick),
        };
        let (value, unit) = match value {
            value if value >= 1e6 => (value / 1e6, "M"),
            value if value >= 1e4 => (value / 1e3, "k"),
            value => (value, ""),
        };
        format!("{}{unit}", (value * 1e3).round() / 1e3)
    }
}

impl Scale {
    fn place(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => value.is_finite().then_some(value),
            Self::Log => (value.is_finite() && value > 0.0).then(|| value.log10()),
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Chart {
    /// Writes it to a file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.svg()).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let x = Ruler::of(self.x.scale, all().map(|(x, _)| x));
        let y = Ruler::of(self.y.scale, all().map(|(_, y)| y));
        let across = |part: f64| LEFT + part * (WIDTH - LEFT - RIGHT);
        let up = |part: f64| HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>\n",
            escaped(&self.title)
        );
        // Writing to a String has no way to fail.
        for tick in &x.ticks {
            let at = across(x.part_of(*tick));
            let _ = writeln!(
                out,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                up(0.0),
                up(1.0),
                up(0.0) + 20.0,
                x.label(*tick)
            );
        }
        for tick in &y.ticks {
            let at = up(y.part_of(*tick));
            let _ = writeln!(
                out,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                across(0.0),
                across(1.0),
                LEFT - 8.0,
                at + 4.0,
                y.label(*tick)
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(22 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            across(0.5),
            HEIGHT - 14.0,
            escaped(self.x.name),
            up(0.5),
            escaped(self.y.name)
        );
        let mut legend = TOP + 8.0;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<(f64, f64)> = line
                .points
                .iter()
                .filter_map(|(a, b)| Some((across(x.part(*a)?), up(y.part(*b)?))))
                .collect();
            let path: Vec<String> = points.iter().map(|(a, b)| format!("{a:.1},{b:.1}")).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (a, b) in points {
                let _ = writeln!(out, "<circle cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
            let at = WIDTH - RIGHT + 16.0;
            let _ = writeln!(
                out,
                "<rect x=\"{at:.1}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{legend:.1}\">{}</text>",
                legend - 6.0,
                at + 20.0,
                escaped(&line.name)
            );
            legend += 20.0;
        }
        out.push_str("</svg>\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "a < b & c".to_owned(),
            x: Axis {
                name: "x",
                scale: Scale::Linear,
            },
            y: Axis { name: "y", scale },
            lines: vec![Line {
                name: "one".to_owned(),
                points,
            }],
        }
    }

    #[test]
    fn points_lie_where_their_values_are_and_texts_are_texts() {
        let svg = chart(Scale::Linear, vec![(0.0, 0.0), (50.0, 500.0), (100.0, 1_000.0)]).svg();
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let middle = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        let expected = format!(
            "points=\"{LEFT:.1},{bottom:.1} {:.1},{:.1} {right:.1},{TOP:.1}\"",
            middle.0, middle.1
        );
        assert!(svg.contains(&expected), "{svg}");
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains(">one</text>"));
    }

    #[test]
    fn powers_of_ten_are_as_far_apart_and_zero_has_no_place_among_them() {
        let svg = chart(Scale::Log, vec![(0.0, 0.0), (1.0, 10.0), (2.0, 100.0), (3.0, 1_000.0)]).svg();
        assert_eq!(svg.matches("<circle").count(), 3);
        let ruler = Ruler::of(Scale::Log, [10.0, 1_000.0].into_iter());
        assert_eq!(
            ruler.ticks.iter().map(|tick| ruler.label(*tick)).collect::<Vec<_>>(),
            ["10", "100", "1000"]
        );
        assert_eq!(ruler.part(100.0), Some(0.5));
    }

    #[test]
    fn an_empty_chart_is_still_one() {
        assert!(chart(Scale::Log, Vec::new()).svg().ends_with("</svg>\n"));
    }
}
