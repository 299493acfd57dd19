//! Pictures: for each group of workloads one SVG of small charts, a bar for each engine, or lines over the number of
//! threads where there are several.

use crate::summary::{Contest, short};
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

type Outcome = Result<(), Box<dyn Error>>;

const WIDTH: u32 = 560;
/// Of a chart, and of a bar in it.
const HEIGHT: u32 = 340;
const BAR: u32 = 15;
const ACROSS: u32 = 2;

/// Every engine its colour, the same in all pictures; pagebox stands out.
fn colour(engine: &str) -> RGBColor {
    const COLOURS: [(&str, (u8, u8, u8)); 15] = [
        ("pagebox", (214, 39, 40)),
        ("redb", (255, 127, 14)),
        ("heed", (31, 119, 180)),
        ("rocksdb", (44, 160, 44)),
        ("fjall", (148, 103, 189)),
        ("sqlite", (23, 190, 207)),
        ("bf-tree", (140, 86, 75)),
        ("sled", (227, 119, 194)),
        ("canopydb", (188, 189, 34)),
        ("btreemap", (90, 90, 90)),
        ("hashmap", (120, 120, 120)),
        ("skiplist", (145, 145, 145)),
        ("treeindex", (165, 165, 165)),
        ("device", (190, 190, 190)),
        ("memory", (205, 205, 205)),
    ];
    let (r, g, b) = COLOURS.iter().find(|one| one.0 == engine).map_or((0, 0, 0), |one| one.1);
    RGBColor(r, g, b)
}

/// Contests of one workload at several numbers of threads.
struct Chart<'a> {
    workload: &'a str,
    contests: Vec<&'a Contest>,
}

/// Draws the contests of a group into `path`; `false` if there is nothing to draw.
pub fn draw(contests: &[&Contest], path: &Path) -> Result<bool, Box<dyn Error>> {
    let mut charts: Vec<Chart<'_>> = Vec::new();
    for contest in contests.iter().filter(|contest| contest.figures.iter().any(|figure| figure.row.ops_per_s > 0.0)) {
        match charts.iter_mut().find(|chart| chart.workload == contest.workload) {
            Some(chart) => chart.contests.push(contest),
            None => charts.push(Chart { workload: &contest.workload, contests: vec![contest] }),
        }
    }
    if charts.is_empty() {
        return Ok(false);
    }
    let down = (charts.len() as u32).div_ceil(ACROSS);
    let across = ACROSS.min(charts.len() as u32);
    // Many bars need room; lines do not.
    let bars_of = |chart: &Chart<'_>| match chart.contests.len() {
        0..=2 => chart.contests.iter().map(|contest| contest.figures.len() as u32).sum(),
        _ => 0,
    };
    let height = HEIGHT.max(70 + BAR * charts.iter().map(bars_of).max().unwrap_or(0));
    let area = SVGBackend::new(path, (WIDTH * across, height * down)).into_drawing_area();
    area.fill(&WHITE)?;
    for (chart, cell) in charts.iter().zip(area.split_evenly((down as usize, across as usize))) {
        let result = if chart.contests.len() > 2 { lines(chart, &cell) } else { bars(chart, &cell) };
        result.map_err(|e| format!("{}: {e}", chart.workload))?;
    }
    area.present()?;
    Ok(true)
}

/// A figure of an axis, if it is one, two or five of its power of ten: within one decade all of them would stand on each other.
fn round(n: f64) -> String {
    let lead = n / 10f64.powf(n.log10().floor());
    if [1.0, 2.0, 5.0].iter().any(|round| (lead / round - 1.0).abs() < 0.01) { short(n) } else { String::new() }
}

type Cell<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// The powers of ten around all figures.
fn decades(chart: &Chart<'_>) -> (f64, f64) {
    let all = chart.contests.iter().flat_map(|contest| &contest.figures).map(|figure| figure.row.ops_per_s);
    let (mut low, mut high) = (f64::MAX, f64::MIN_POSITIVE);
    for n in all.filter(|&n| n > 0.0) {
        (low, high) = (low.min(n), high.max(n));
    }
    (10f64.powf(low.log10().floor()), 10f64.powf((high * 1.05).log10().ceil()))
}

/// One bar for each engine (and number of threads), the longest on top, with its figure.
fn bars(chart: &Chart<'_>, cell: &Cell<'_>) -> Outcome {
    let several = chart.contests.len() > 1;
    let mut all: Vec<(String, &str, f64)> = Vec::new();
    for contest in &chart.contests {
        for figure in contest.figures.iter().filter(|figure| figure.row.ops_per_s > 0.0) {
            let name = &figure.row.engine;
            let label = if several { format!("{name} ×{}", contest.threads) } else { name.clone() };
            all.push((label, name, figure.row.ops_per_s));
        }
    }
    all.sort_by(|a, b| a.2.total_cmp(&b.2));
    let (low, high) = decades(chart);
    let threads = if several { String::new() } else { format!(", {} thread(s)", chart.contests[0].threads) };
    let mut context = ChartBuilder::on(cell)
        .caption(format!("{}{threads}: operations/s", chart.workload), ("sans-serif", 16))
        .margin(10)
        .margin_right(60)
        .x_label_area_size(24)
        .y_label_area_size(90)
        .build_cartesian_2d((low..high).log_scale(), 0f64..all.len() as f64)?;
    context
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_label_formatter(&|n| round(*n))
        .label_style(("sans-serif", 11))
        .draw()?;
    let size = (f64::from(cell.dim_in_pixel().1.saturating_sub(70)) / all.len() as f64 * 0.8).clamp(7.0, 12.0);
    for (i, (label, name, ops)) in all.iter().enumerate() {
        let (bottom, top) = (i as f64 + 0.12, i as f64 + 0.88);
        let bar = Rectangle::new([(low, bottom), (*ops, top)], colour(name).filled());
        context.draw_series(std::iter::once(bar))?;
        let middle = context.backend_coord(&(*ops, i as f64 + 0.5));
        let start = context.backend_coord(&(low, i as f64 + 0.5));
        let (x0, y0) = cell.get_base_pixel();
        let style = ("sans-serif", size).into_font().color(&BLACK);
        let position = plotters::style::text_anchor::Pos::new;
        use plotters::style::text_anchor::{HPos, VPos};
        let (right, left) = (position(HPos::Right, VPos::Center), position(HPos::Left, VPos::Center));
        cell.draw(&Text::new(label.clone(), (start.0 - x0 - 4, start.1 - y0), style.clone().pos(right)))?;
        cell.draw(&Text::new(short(*ops), (middle.0 - x0 + 4, middle.1 - y0), style.pos(left)))?;
    }
    Ok(())
}

/// One line for each engine over the number of threads.
fn lines(chart: &Chart<'_>, cell: &Cell<'_>) -> Outcome {
    let (low, high) = decades(chart);
    let threads: Vec<f64> = chart.contests.iter().map(|contest| contest.threads as f64).collect();
    let (first, last) = threads.iter().fold((f64::MAX, 1.0f64), |(a, b), &n| (a.min(n), b.max(n)));
    let mut context = ChartBuilder::on(cell)
        .caption(format!("{}: operations/s by threads", chart.workload), ("sans-serif", 16))
        .margin(10)
        .margin_right(110)
        .x_label_area_size(24)
        .y_label_area_size(46)
        .build_cartesian_2d((first..last).log_scale().base(2.0), (low..high).log_scale())?;
    context
        .configure_mesh()
        .x_label_formatter(&|n| format!("{n:.0}"))
        .y_label_formatter(&|n| round(*n))
        .label_style(("sans-serif", 11))
        .draw()?;
    let mut names: Vec<&str> = Vec::new();
    for figure in chart.contests.iter().flat_map(|contest| &contest.figures) {
        if figure.row.ops_per_s > 0.0 && !names.contains(&figure.row.engine.as_str()) {
            names.push(&figure.row.engine);
        }
    }
    // Names stand at the right, in the order of the last figures, none over another.
    let mut ends: Vec<(f64, &str)> = Vec::new();
    for name in names {
        let points: Vec<(f64, f64)> = chart
            .contests
            .iter()
            .filter_map(|contest| Some((contest.threads as f64, contest.of(name)?.row.ops_per_s)))
            .filter(|point| point.1 > 0.0)
            .collect();
        let style = colour(name).stroke_width(if name == "pagebox" { 3 } else { 2 });
        context.draw_series(LineSeries::new(points.iter().copied(), style))?;
        context.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour(name).filled())))?;
        if let Some(&(_, ops)) = points.last() {
            ends.push((ops, name));
        }
    }
    ends.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (x0, y0) = cell.get_base_pixel();
    let mut free = i32::MIN;
    for (ops, name) in ends {
        let (x, y) = context.backend_coord(&(last, ops));
        let y = (y - y0).max(free);
        free = y + 13;
        use plotters::style::text_anchor::{HPos, Pos, VPos};
        let style = ("sans-serif", 12).into_font().color(&colour(name)).pos(Pos::new(HPos::Left, VPos::Center));
        cell.draw(&Text::new(name.to_owned(), (x - x0 + 8, y), style))?;
    }
    Ok(())
}
