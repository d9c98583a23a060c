//! `show`: what would be done, in words.

use crate::acts;
use crate::place::Place;
use crate::plan::Plan;

/// The text, and whether `do` would do it.
pub fn show(place: &Place) -> (String, bool) {
    if acts::is_in_charge(place) {
        return (
            "rota is in charge of this device. `rota-migrate undo` gives it back to Mender's client.\n"
                .into(),
            true,
        );
    }
    let plan = Plan::of(place);
    let mut text = "Mender's client is in charge of this device.\n".to_owned();
    if acts::is_interrupted(place) {
        text += "An earlier do or undo was interrupted; the next one clears up what it left.\n";
    }
    if !plan.refusals.is_empty() {
        text += "\nrota cannot take it over:\n";
        plan.refusals.iter().for_each(|why| text += &format!("  {why}\n"));
        return (text, false);
    }
    text += "`rota-migrate do` takes it over:\n\n";
    text += &format!("  identity     {} (stays)\n", plan.attributes);
    let data = acts::data_folder(&place.paths, plan.link.as_deref());
    text += &format!("  data         {data}\n");
    match &plan.facts {
        Some(facts) => {
            facts.iter().for_each(|(name, value)| text += &format!("  provides     {name}={value}\n"))
        }
        None => text += "  provides     what the image says: nothing was ever installed\n",
    }
    for put in &plan.puts {
        let act = if put.replaces { "replaces" } else { "makes" };
        text += &format!("  {act:<12} {} ({})\n", put.to.display(), put.what);
    }
    let (there, running) = &plan.units;
    for unit in there {
        let how = if running.contains(unit) { "stops" } else { "holds back" };
        text += &format!("  {how:<12} {unit}\n");
    }
    if place.services.systemctl.is_some() {
        text += "  starts       rota.service, now and at every boot\n";
    }
    plan.notes.iter().for_each(|note| text += &format!("  note         {note}\n"));
    text += "\nNothing of Mender's is changed or removed. `rota-migrate undo` undoes it.\n";
    (text, true)
}
