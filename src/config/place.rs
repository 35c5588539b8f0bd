//! What a pool says about places: where it and its realservers are, whom it does not serve, and who serves those of unknown place.

use super::{
    Exclusion, OnExcluded, PoolIndex, Realserver,
    file::{Context, Places},
    reader::{Table, Value, suggest_name},
};
use crate::geo::{self, Coordinates};

/// `[latitude, longitude]` in degrees.
pub(super) fn read_location(value: Value<'_>) -> Option<Coordinates> {
    let degrees = value.list(|element| element.degrees())?;
    let is_pair = value.n_elements() == Some(2);
    let coordinates = match *degrees {
        [latitude, longitude] if is_pair => Coordinates::new(latitude, longitude),
        // An element that is no number has been told.
        _ if is_pair => return None,
        _ => None,
    };
    if coordinates.is_none() {
        let hint = "degrees north (-90 to 90), then degrees east (-180 to 180), such as `[52.37, 4.90]`";
        value.reject("`location` is a latitude and a longitude", hint);
    }
    coordinates
}

/// `exclude` and `on_excluded`.
pub(super) fn read_exclusion(context: &Context<'_>, table: Table<'_>, places: &mut Places) -> Option<Exclusion> {
    let to = table.get("on_excluded").and_then(|value| match value.text() {
        Some("refused") => Some(OnExcluded::Refused),
        Some(name) if !context.pools_by_name.contains_key(name) => {
            let error = value.reader.error(value.span(), format!("`{name}` is neither `refused` nor a pool"));
            let known: Vec<&str> = ["refused"].iter().chain(context.pool_names).copied().collect();
            value.reader.report(suggest_name(error, name, &known, "what can be written"));
            None
        }
        _ => context.pool(value).map(OnExcluded::Pool),
    });
    let Some(value) = table.get("exclude") else {
        if let Some(value) = table.get("on_excluded") {
            value.reject("nobody is excluded here", "add `exclude`, such as `exclude = [\"KP\"]`");
        }
        return None;
    };
    places.needing_geo.push(("exclude", value.span()));
    let keys = value.list(|element| {
        let text = element.string()?;
        match text.parse() {
            Ok(geo::Key::Default) => {
                element.reject("`default` would exclude everybody", "name places, such as `KP`, `asia` or `AS64500`");
                None
            }
            Ok(key) => Some(key),
            Err(error) => {
                element.reject(error.to_string(), error.hint());
                None
            }
        }
    })?;
    if value.is_empty_list() {
        value.reject("an empty list excludes nobody", "name places, or remove the line");
    }
    Some(Exclusion { places: keys, to: to.unwrap_or(OnExcluded::Refused) })
}

/// `default` of a nearest pool of pools: all of its members if there is none.
pub(super) fn read_default_pools(context: &Context<'_>, table: Table<'_>, members: &[PoolIndex]) -> Vec<PoolIndex> {
    let Some(value) = table.get("default") else { return members.to_vec() };
    let listed = value.list(|element| {
        let pool = context.pool(element)?;
        if !members.contains(&pool) {
            let name = context.pool_names.get(pool).copied().unwrap_or_default();
            element.reject(format!("`{name}` is not among this pool's `members`"), "add it there");
        }
        Some((pool, element))
    });
    without_repetition(listed.unwrap_or_default())
}

/// `default` of a nearest pool of realservers, by their names.
pub(super) fn read_default_realservers(table: Table<'_>, realservers: &[Realserver]) -> Vec<usize> {
    let Some(value) = table.get("default") else { return Vec::new() };
    let listed = value.list(|element| {
        let name = element.string()?;
        let index = realservers.iter().position(|realserver| &*realserver.name == name);
        if index.is_none() {
            let error = element.reader.error(element.span(), format!("this pool has no realserver `{name}`"));
            let names: Vec<&str> = realservers.iter().map(|realserver| &*realserver.name).collect();
            element.reader.report(suggest_name(error, name, &names, "realservers"));
        }
        Some((index?, element))
    });
    without_repetition(listed.unwrap_or_default())
}

fn without_repetition(listed: Vec<(usize, Value<'_>)>) -> Vec<usize> {
    for (at, (index, element)) in listed.iter().enumerate() {
        if listed.iter().take(at).any(|(before, _)| before == index) {
            element.reject("this one is in the list twice", "remove one of the two");
        }
    }
    listed.into_iter().map(|(index, _)| index).collect()
}
