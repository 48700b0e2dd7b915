import { Argument, type Command } from "commander";
import { declare, type Registration } from "../command.ts";

/** `scoutsync completion`: a script that completes commands and options in a shell. */
export const registerCompletion: Registration = (program, surroundings) => {
  const completion = declare(program, surroundings, {
    usage: "completion",
    summary: "print a script that completes commands and options with the Tab key",
    examples: [
      "scoutsync completion bash > /etc/bash_completion.d/scoutsync",
      "scoutsync completion zsh > ~/.zfunc/_scoutsync",
      "scoutsync completion fish > ~/.config/fish/completions/scoutsync.fish",
    ],
    run: (_options, { out }, shell = "") => {
      const words = wordsAfter(program);
      const script = shell === "bash" ? bash(words) : shell === "zsh" ? zsh(words) : fish(words);
      out.result({ shell, script }, () => out.line(script));
      return Promise.resolve();
    },
  });
  completion.addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish"]));
};

/** What may follow each command path: names of commands, options, and choices of an argument. */
function wordsAfter(program: Command): Map<string, string[]> {
  const words = new Map<string, string[]>();
  const collect = (command: Command, path: string) => {
    const options = [...command.options, ...(path === "" ? [] : program.options)].map((option) => option.long ?? "");
    const choices = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
    const children = command.commands.map((child) => child.name());
    words.set(
      path,
      [...new Set([...children, ...choices, ...options, "--help"])].filter((word) => word !== ""),
    );
    for (const child of command.commands) collect(child, path === "" ? child.name() : `${path} ${child.name()}`);
  };
  collect(program, "");
  return words;
}

function bash(words: Map<string, string[]>): string {
  const cases = [...words].map(([path, after]) => `    "${path}") words="${after.join(" ")}" ;;`);
  return `# bash completion of scoutsync
_scoutsync() {
  local path="" word words="" at
  for ((at = 1; at < COMP_CWORD; at++)); do
    word="\${COMP_WORDS[at]}"
    case "$word" in -*) continue ;; esac
    case " ${paths(words)} " in *" \${path:+$path/}$word "*) path="\${path:+$path/}$word" ;; esac
  done
  case "\${path//\\// }" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _scoutsync scoutsync`;
}

function zsh(words: Map<string, string[]>): string {
  return `#compdef scoutsync
autoload -U +X bashcompinit && bashcompinit
${bash(words)}`;
}

function fish(words: Map<string, string[]>): string {
  const lines = [...words].flatMap(([path, after]) => {
    const parts = path === "" ? [] : path.split(" ");
    const seen = parts.map((part) => `__fish_seen_subcommand_from ${part}`);
    const condition = seen.length === 0 ? "__fish_use_subcommand" : seen.join("; and ");
    return after.map((word) =>
      word.startsWith("--")
        ? `complete -c scoutsync -n '${condition}' -l ${word.slice(2)}`
        : `complete -c scoutsync -n '${condition}' -f -a ${word}`,
    );
  });
  return ["# fish completion of scoutsync", ...lines].join("\n");
}

/** Command paths with slashes, so that they are one word each. */
function paths(words: Map<string, string[]>): string {
  return [...words.keys()]
    .filter((path) => path !== "")
    .map((path) => path.replace(" ", "/"))
    .join(" ");
}
