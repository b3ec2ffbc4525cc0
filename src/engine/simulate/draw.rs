//! A picture of a simulation, as SVG: the limit, what was taken, and what was refused, over time.

use super::tally::{STEP, Tally};
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 34.0;
/// Points a line has at most.
const POINTS: usize = 480;

/// One point of the picture: rates a minute.
struct Point {
    limit: f64,
    taken: f64,
    refused: f64,
}

/// The picture.
#[must_use]
pub fn svg(title: &str, tally: &Tally) -> String {
    let points = points(tally);
    let hours = tally.counts.len() as f64 * STEP / 3600.0;
    let highest = points.iter().map(|p| p.limit.max(p.taken)).fold(1.0, f64::max) * 1.15;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="20" font-size="14">{}</text>"#,
        WIDTH + LEFT + 16.0,
        HEIGHT + TOP + 44.0,
        escaped(title)
    );
    axes(&mut out, highest, hours);
    bars(&mut out, &points, highest);
    line(&mut out, &points, highest, "#888", |p| p.limit);
    line(&mut out, &points, highest, "#1667b7", |p| p.taken);
    legend(&mut out);
    out.push_str("</svg>\n");
    out
}

fn points(tally: &Tally) -> Vec<Point> {
    let size = tally.counts.len().div_ceil(POINTS).max(1);
    tally
        .counts
        .chunks(size)
        .map(|steps| {
            let minutes = steps.len() as f64 * STEP / 60.0;
            let sum = |n: u32| f64::from(n) / minutes;
            Point {
                limit: steps.iter().map(|s| s.limit).sum::<f64>() / steps.len() as f64 * 60.0,
                taken: sum(steps.iter().map(|s| s.taken).sum()),
                refused: sum(steps.iter().map(|s| s.refused).sum()),
            }
        })
        .collect()
}

fn x(index: usize, points: usize) -> f64 {
    LEFT + WIDTH * (index as f64 + 0.5) / points as f64
}

fn y(value: f64, highest: f64) -> f64 {
    TOP + HEIGHT * (1.0 - (value / highest).min(1.0))
}

fn line(out: &mut String, points: &[Point], highest: f64, colour: &str, value: fn(&Point) -> f64) {
    let _ = write!(
        out,
        r#"<polyline fill="none" stroke="{colour}" stroke-width="1.3" points=""#
    );
    for (index, point) in points.iter().enumerate() {
        let _ = write!(
            out,
            "{:.1},{:.1} ",
            x(index, points.len()),
            y(value(point), highest)
        );
    }
    out.push_str("\"/>\n");
}

fn bars(out: &mut String, points: &[Point], highest: f64) {
    let width = (WIDTH / points.len() as f64).max(1.0);
    for (index, point) in points.iter().enumerate().filter(|(_, point)| point.refused > 0.0) {
        let (at, top) = (x(index, points.len()) - width / 2.0, y(point.refused, highest));
        let _ = writeln!(
            out,
            r##"<rect x="{at:.1}" y="{top:.1}" width="{width:.1}" height="{:.1}" fill="#c8372d"/>"##,
            (TOP + HEIGHT - top).max(1.0)
        );
    }
}

fn axes(out: &mut String, highest: f64, hours: f64) {
    for part in 0..=4 {
        let value = highest * f64::from(part) / 4.0;
        let at = y(value, highest);
        let _ = writeln!(
            out,
            r##"<path d="M{LEFT} {at:.1}h{WIDTH}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{value:.0}</text>"##,
            LEFT - 6.0,
            at + 4.0
        );
        let hour = hours * f64::from(part) / 4.0;
        let _ = writeln!(
            out,
            r#"<text x="{:.1}" y="{}" text-anchor="middle">{hour:.1} h</text>"#,
            LEFT + WIDTH * f64::from(part) / 4.0,
            TOP + HEIGHT + 16.0
        );
    }
}

fn legend(out: &mut String) {
    let names = [("#888", "limit"), ("#1667b7", "taken"), ("#c8372d", "refused")];
    for (index, (colour, name)) in names.into_iter().enumerate() {
        let at = LEFT + 120.0 * index as f64;
        let _ = writeln!(
            out,
            r#"<rect x="{at}" y="{}" width="12" height="4" fill="{colour}"/><text x="{}" y="{}">{name}, a minute</text>"#,
            TOP + HEIGHT + 30.0,
            at + 18.0,
            TOP + HEIGHT + 36.0
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
