use clap::CommandFactory;

use super::Cli;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// The help texts are the reference manual: a change is looked at.
#[test]
fn help_texts() {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    insta::assert_snapshot!("help", cli.render_long_help().to_string());
    for command in cli.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        let name = format!("help_{}", command.get_name());
        let text = command.clone().term_width(100).render_long_help().to_string();
        insta::assert_snapshot!(name, text);
    }
}
