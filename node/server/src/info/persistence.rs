//! `INFO persistence`: the journal and its checkpoints under the names that Redis has for its two ways of saving.

use super::sections::{Lines, Scene, ratio, two_digits};
use crate::durability::LoadingState;

/// The section.
pub(super) fn section(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let node = scene.node;
    let (state, is_on) = (node.durability.state(), node.durability.is_on());
    let now_ms = node.wall_clock();
    let status = |is_good: bool| if is_good { "ok" } else { "err" };
    let seconds = |ms: Option<u64>| ms.map_or(-1, |ms| i64::try_from(ms / 1000).unwrap_or(i64::MAX));
    let is_sound = state.health == storage::Health::Sound;
    let running = state.checkpoint_since_ms.map(|since| now_ms.saturating_sub(since));
    let took = (state.checkpoints > 0).then_some(state.checkpoint_took_ms);
    let saved_ms = if state.checkpoint_finished_ms > 0 { state.checkpoint_finished_ms } else { node.started_at() };
    let changes = if is_on { state.changes_since_checkpoint } else { scene.metrics.keyspace.changes_made.value() };
    let keys: u64 = (0..keyspace::DATABASES).map(|database| node.keyspace.len(database)).sum();
    let groups = if running.is_some() { state.checkpoint_groups } else { 0 };
    let processed = keys * groups / u64::from(storage::limits::GROUPS);
    lines
        .put("loading", u8::from(node.condition.is_loading()))
        .put_all(&[("async_loading", "0"), ("current_cow_peak", "0"), ("current_cow_size", "0")])
        .put_all(&[("current_cow_size_age", "0"), ("current_fork_perc", "0.00")])
        .put("current_save_keys_processed", processed)
        .put("current_save_keys_total", if running.is_some() { keys } else { 0 })
        .put("rdb_changes_since_last_save", changes)
        .put("rdb_bgsave_in_progress", u8::from(running.is_some()))
        .put("rdb_last_save_time", saved_ms / 1000)
        .put("rdb_last_bgsave_status", status(!state.checkpoint_failed))
        .put("rdb_last_bgsave_time_sec", seconds(took))
        .put("rdb_current_bgsave_time_sec", seconds(running))
        .put("rdb_saves", state.checkpoints)
        .put_all(&[("rdb_last_cow_size", "0"), ("rdb_last_load_keys_expired", "0")])
        .put("rdb_last_load_keys_loaded", state.keys_loaded)
        .put("aof_enabled", u8::from(is_on))
        .put("aof_rewrite_in_progress", u8::from(running.is_some()))
        .put("aof_rewrite_scheduled", u8::from(running.is_some() && node.durability.is_wished()))
        .put("aof_last_rewrite_time_sec", seconds(took))
        .put("aof_current_rewrite_time_sec", seconds(running))
        .put("aof_last_bgrewrite_status", status(!state.checkpoint_failed))
        .put("aof_rewrites", state.checkpoints)
        .put("aof_rewrites_consecutive_failures", state.checkpoint_failures)
        .put("aof_last_write_status", status(is_sound))
        .put_all(&[("aof_last_cow_size", "0"), ("module_fork_in_progress", "0"), ("module_fork_last_cow_size", "0")]);
    if is_on {
        lines
            .put("aof_current_size", state.uncovered_bytes + state.checkpoint_bytes)
            .put("aof_base_size", state.checkpoint_bytes)
            .put("aof_pending_rewrite", 0)
            .put("aof_buffer_length", state.queued_bytes)
            .put("aof_pending_bio_fsync", u8::from(state.is_flushing))
            .put("aof_delayed_fsync", state.stalls)
            .put("store_health", state.health.name())
            .put("store_problem", state.health.sentence().unwrap_or_default())
            .put("store_damage_found", state.problems)
            .put("store_journal_bytes", state.journal_bytes)
            .put("store_records_given_up", state.given_up)
            .put("store_thread_panics", state.panics)
            .put("store_flushes", state.flushes)
            .put("store_flush_us_max", state.flush_us_max)
            .put("store_space_bytes", state.space_bytes)
            .put("store_checkpoint_lacks_bytes", state.checkpoint_lacks_bytes);
    }
    if let Some(loading) = state.loading {
        put_loading(loading, now_ms, lines);
    }
}

fn put_loading(loading: LoadingState, now_ms: u64, lines: &mut Lines<'_>) {
    let elapsed_ms = now_ms.saturating_sub(loading.since_ms);
    let rest = loading.bytes.saturating_sub(loading.bytes_done);
    let eta = elapsed_ms.saturating_mul(rest).checked_div(loading.bytes_done).map_or(1, |ms| ms / 1000);
    lines
        .put("loading_start_time", loading.since_ms / 1000)
        .put("loading_total_bytes", loading.bytes)
        .put("loading_rdb_used_mem", loading.bytes)
        .put("loading_loaded_bytes", loading.bytes_done)
        .put("loading_loaded_perc", two_digits(ratio(loading.bytes_done, loading.bytes) * 100.0))
        .put("loading_eta_seconds", eta);
}
