import { Argument, type Command, type Option } from "commander";
import { declare, type Registration } from "../command.ts";

/** What may be typed at one place, and what it is for. */
interface Word {
  word: string;
  about: string;
}

/** `scoutsync completion`: a script that completes commands and options in a shell. */
export const registerCompletion: Registration = (program, surroundings) => {
  const completion = declare(program, surroundings, {
    usage: "completion",
    summary: "print a script that completes commands and options with the Tab key",
    examples: [
      "scoutsync completion bash > /etc/bash_completion.d/scoutsync",
      'scoutsync completion zsh > "${fpath[1]}/_scoutsync"',
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

/**
 * What may follow each place of a line: a command's path with a slash before each word ("" for none, "/jobs/list"), and with
 * an option behind it the values that the option takes.
 */
function wordsAfter(program: Command): Map<string, Word[]> {
  const words = new Map<string, Word[]>();
  const collect = (command: Command, path: string) => {
    const options: readonly Option[] = path === "" ? command.options : [...command.options, ...program.options];
    for (const { long, argChoices } of options) {
      if (long && argChoices) words.set(`${path} ${long}`, plainWords(argChoices));
    }
    words.set(path, [
      ...command.commands.map((child) => ({ word: child.name(), about: child.description() })),
      ...plainWords(command.registeredArguments.flatMap((argument) => argument.argChoices ?? [])),
      ...options.flatMap(({ long, description }) => (long ? [{ word: long, about: description }] : [])),
      { word: "--help", about: "what it does, with examples" },
    ]);
    for (const child of command.commands) collect(child, `${path}/${child.name()}`);
  };
  collect(program, "");
  return new Map([...words].map(([place, after]) => [place, [...new Map(after.map((one) => [one.word, one])).values()]]));
}

function plainWords(words: readonly string[]): Word[] {
  return words.map((word) => ({ word, about: "" }));
}

/** The paths of commands as one line, for a shell to find a word's place. */
function paths(words: Map<string, Word[]>): string {
  return [...words.keys()].filter((place) => place !== "" && !place.includes(" ")).join(" ");
}

function bash(words: Map<string, Word[]>): string {
  const cases = [...words].map(([place, after]) => `    "${place}") words="${after.map(({ word }) => word).join(" ")}" ;;`);
  return `# bash completion of scoutsync
_scoutsync() {
  local place="" word words="" at
  for ((at = 1; at < COMP_CWORD; at++)); do
    word="\${COMP_WORDS[at]}"
    case " ${paths(words)} " in *" $place/$word "*) place="$place/$word" ;; esac
  done
  word="\${COMP_WORDS[COMP_CWORD-1]}"
  case "$place $word" in
${optionPlaces(words)
  .map((place) => `    "${place}") place="${place}" ;;`)
  .join("\n")}
  esac
  case "$place" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _scoutsync scoutsync`;
}

/** Places where a value of an option is typed. */
function optionPlaces(words: Map<string, Word[]>): string[] {
  return [...words.keys()].filter((place) => place.includes(" "));
}

function zsh(words: Map<string, Word[]>): string {
  const described = ({ word, about }: Word) => quoted(`${word.replaceAll(":", "\\:")}${about === "" ? "" : `:${about}`}`);
  const cases = [...words].map(([place, after]) => `    "${place}") found=(${after.map(described).join(" ")}) ;;`);
  return `#compdef scoutsync
_scoutsync() {
  local place="" word at
  local -a found known
  known=(${paths(words)})
  for ((at = 2; at < CURRENT; at++)); do
    word="\${words[at]}"
    if (( \${known[(Ie)$place/$word]} )); then place="$place/$word"; fi
  done
  word="\${words[CURRENT-1]}"
  case "$place $word" in
${optionPlaces(words)
  .map((place) => `    "${place}") place="${place}" ;;`)
  .join("\n")}
  esac
  case "$place" in
${cases.join("\n")}
  esac
  _describe scoutsync found || _files
}
if [ "$funcstack[1]" = "_scoutsync" ]; then _scoutsync "$@"; else compdef _scoutsync scoutsync; fi`;
}

function fish(words: Map<string, Word[]>): string {
  const lines = [...words].flatMap(([place, after]) =>
    after.map(({ word, about }) => {
      const what = word.startsWith("--") ? `-l ${word.slice(2)}` : `-f -a ${quoted(word)}`;
      return `complete -c scoutsync -n 'test "$(__scoutsync_place)" = "${place}"' ${what}${about === "" ? "" : ` -d ${quoted(about)}`}`;
    }),
  );
  return `# fish completion of scoutsync
function __scoutsync_place
  set -l known ${paths(words)}
  set -l place ""
  set -l typed (commandline -opc)
  for word in $typed[2..]
    contains -- "$place/$word" $known; and set place "$place/$word"
  end
  contains -- "$place $typed[-1]" ${optionPlaces(words).map(quoted).join(" ")}; and set place "$place $typed[-1]"
  echo -n $place
end
${lines.join("\n")}`;
}

/** In single quotes, for any of the shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "’")}'`;
}
