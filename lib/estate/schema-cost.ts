/** The part of config.json's schema that says what the estate's bill is held against. */

import * as v from 'valibot'
import { integer, type KeyDoc, key, mustBe, named, section, text } from './schema-kit.ts'

const amount = v.pipe(
  v.number(mustBe('an amount of at least 0')),
  v.finite(mustBe('an amount')),
  v.minValue(0, mustBe('an amount of at least 0')),
)

export const costCompare = key(
  named(
    text('a name like "Vercel Pro"', /^[\w .+-]{1,40}$/),
    v.pipe(
      section({
        monthly: key(amount, 'number', '0', 'What it costs a month whatever happens.'),
        per_seat: key(amount, 'number', '0', 'What it costs a month for each person.'),
        seats: key(integer('a whole number from 0 to 10000', 0, 10_000), 'number', '1', 'How many people.'),
        rate: key(amount, 'number', '1', "What one unit of its currency is in the account's."),
      }),
      v.metadata({ type: 'group', default: '', meaning: 'One alternative.' } satisfies KeyDoc),
    ),
  ),
  'group',
  'Vercel Pro: 20 a seat for one seat, at 0.9',
  'Offers that the bill is held against: assumptions of yours, nobody asks for their prices.',
)
