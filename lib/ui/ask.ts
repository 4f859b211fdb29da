/** Questions to the person at the terminal. The only importer of @inquirer/prompts, loaded with the first question. */

import { LandfallError } from '../errors.ts'
import { Secret } from '../secret.ts'
import { printable } from './printable.ts'
import type { Ask } from './types.ts'

/** Where questions are asked; standard input and output unless a test says otherwise. */
export interface AskStreams {
  readonly input?: NodeJS.ReadableStream
  readonly output?: NodeJS.WritableStream
}

// The names of the library's own errors for Ctrl-C, an aborted signal and a cancelled prompt (@inquirer/core, lib/errors).
const ENDINGS = ['ExitPromptError', 'AbortPromptError', 'CancelPromptError']

const message = (text: string): string => printable(text)

/**
 * @param signal ends an open question when the run is interrupted in another way than by its own Ctrl-C
 * @param onWaited told how long each question waited for its answer
 */
export const createTerminalAsk = (
  signal?: AbortSignal,
  streams: AskStreams = {},
  onWaited: (ms: number) => void = () => {},
): Ask => {
  const context = { ...streams, ...(signal === undefined ? {} : { signal }) }
  const ask = async <T>(question: string, prompt: (library: typeof import('@inquirer/prompts')) => Promise<T>): Promise<T> => {
    const library = await import('@inquirer/prompts')
    const askedAtMs = performance.now()
    try {
      return await prompt(library)
    } catch (error) {
      if (!(error instanceof Error && ENDINGS.includes(error.name))) throw error
      throw new LandfallError('cancelled', `Interrupted at the question "${message(question)}". Nothing was changed by it.`, {
        hint: 'Run the same command again; --help shows the flags that answer its questions.',
        cause: error,
      })
    } finally {
      onWaited(performance.now() - askedAtMs)
    }
  }
  return {
    text: question =>
      ask(question.message, ({ input }) =>
        input(
          {
            message: message(question.message),
            ...(question.default === undefined ? {} : { default: question.default }),
            validate: value => question.validate?.(value) ?? true,
          },
          context,
        ),
      ),
    secret: async question => {
      const value = await ask(question.message, ({ password }) =>
        password(
          {
            message: message(question.message),
            mask: '*',
            validate: text => (text.trim() === '' ? 'Paste it here; what you type is not shown.' : true),
          },
          context,
        ),
      )
      return new Secret(question.label, value.trim())
    },
    confirm: question =>
      ask(question.message, ({ confirm }) => confirm({ message: message(question.message), default: question.default }, context)),
    select: question =>
      ask(question.message, ({ select }) =>
        select(
          {
            message: message(question.message),
            choices: question.choices.map(({ value, name, about }) => ({
              value,
              name: message(name),
              ...(about === undefined ? {} : { description: message(about) }),
            })),
            ...(question.default === undefined ? {} : { default: question.default }),
          },
          context,
        ),
      ),
  }
}

/**
 * Refuses every question, naming the flag that answers it: for a run without a terminal.
 * @param hintFor the next command for a flag
 */
export const createRefusingAsk = (hintFor: (flag: string) => string = flag => `Add ${flag} to the command.`): Ask => {
  const refuse = (question: { readonly flag: string; readonly message: string }): Promise<never> =>
    Promise.reject(
      new LandfallError('usage', `There is no terminal to ask "${message(question.message)}"; ${question.flag} answers it.`, {
        hint: hintFor(question.flag),
      }),
    )
  return { text: refuse, secret: refuse, confirm: refuse, select: refuse }
}
