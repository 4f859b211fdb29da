/** Answers for tests, by the flag of each question. A question that nobody expected, and an answer that nobody asked for, fail. */

import { Secret } from '../../lib/secret.ts'
import type { Ask } from '../../lib/ui/types.ts'

export interface ScriptedAsk extends Ask {
  /** Flags of the questions so far, in order. */
  readonly asked: readonly string[]
  /** @throws when an answer was never asked for */
  allAsked(): void
}

/** `answers` by flag ("--yes"); a list answers the same question again and again, in order. */
export const scriptedAsk = (answers: Readonly<Record<string, string | boolean | readonly string[]>>): ScriptedAsk => {
  const asked: string[] = []
  const left = new Map(Object.entries(answers).map(([flag, answer]) => [flag, Array.isArray(answer) ? [...answer] : [answer]]))
  const take = (question: { readonly flag: string; readonly message: string }): string | boolean => {
    asked.push(question.flag)
    const answer = left.get(question.flag)?.shift()
    if (answer === undefined) throw new Error(`nobody expected the question "${question.message}" (${question.flag})`)
    return answer
  }
  const takeText = (question: Parameters<typeof take>[0]): string => {
    const answer = take(question)
    if (typeof answer !== 'string') throw new Error(`"${question.message}" (${question.flag}) wants a text, not ${answer}`)
    return answer
  }
  return {
    asked,
    allAsked() {
      const unused = [...left].filter(([, rest]) => rest.length > 0).map(([flag]) => flag)
      if (unused.length > 0) throw new Error(`never asked: ${unused.join(', ')}`)
    },
    async text(question) {
      const answer = takeText(question)
      const problem = question.validate?.(answer)
      if (problem !== undefined) throw new Error(`the answer to ${question.flag} is not valid: ${problem}`)
      return answer
    },
    secret: async question => new Secret(question.label, takeText(question)),
    async confirm(question) {
      const answer = take(question)
      if (typeof answer !== 'boolean') throw new Error(`"${question.message}" (${question.flag}) wants yes or no, not ${answer}`)
      return answer
    },
    async select(question) {
      const answer = takeText(question)
      const choice = question.choices.find(({ value }) => value === answer)
      if (choice === undefined)
        throw new Error(`${question.flag}: ${answer} is none of ${question.choices.map(({ value }) => value).join(', ')}`)
      return choice.value
    },
  }
}
