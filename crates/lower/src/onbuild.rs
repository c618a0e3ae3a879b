//! Triggers: the ONBUILD instructions of a base, as the first commands of the stage that builds on it.

use crate::LowerError;
use crate::plan::Command;
use kiln_dockerfile::Span;
use kiln_dockerfile::ast::InstructionKind;
use std::borrow::Cow;

/// The triggers that a stage of the same Dockerfile sets.
///
/// # Errors
/// One that is malformed, which only matters now that it is used.
pub(crate) fn of_stage<'a>(commands: &[Command<'a>], from: Span) -> Result<Vec<Command<'a>>, LowerError> {
    let mut triggers = Vec::new();
    for command in commands {
        // What is owned is a trigger itself, and a trigger sets none.
        let Cow::Borrowed(instruction) = &command.instruction else { continue };
        let InstructionKind::Onbuild(onbuild) = &instruction.kind else { continue };
        triggers.push(match &onbuild.instruction {
            Some(inner) => Command { onbuild: true, ..Command::of(Cow::Borrowed(inner)) },
            None => parse(&onbuild.text, from)?,
        });
    }
    Ok(triggers)
}

/// The triggers that an image's config lists. Their faults point at the FROM that names the image.
///
/// # Errors
/// One that is not exactly one instruction, or not one that a trigger may be.
pub(crate) fn of_image<'a>(triggers: &[String], from: Span) -> Result<Vec<Command<'a>>, LowerError> {
    triggers.iter().map(|trigger| parse(trigger, from)).collect()
}

fn parse<'a>(trigger: &str, from: Span) -> Result<Command<'a>, LowerError> {
    let fail = |reason: String| {
        LowerError::new(format!("the base's trigger `ONBUILD {}` cannot be used: {reason}", trigger.trim()), from)
    };
    let instruction = kiln_dockerfile::parse_trigger(trigger).map_err(|error| fail(error.message))?;
    match instruction.kind {
        InstructionKind::From(_) | InstructionKind::Onbuild(_) | InstructionKind::Maintainer(_) => {
            Err(fail(format!("{} cannot be triggered", instruction.kind.name())))
        }
        _ => Ok(Command { onbuild: true, place: Some(from), ..Command::of(Cow::Owned(instruction)) }),
    }
}
