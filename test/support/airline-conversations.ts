/**
 * Made-up conversations of an airline's agent in the form of tau-bench, for where that data is not: a policy, a
 * customer, tool calls with their answers, some of which fail, and a reward. The same every time; four trials of each
 * task that differ a little, as those of one agent do.
 */
import type { Conversation } from './tau-bench.js';

type Message = Conversation['traj'][number];

const TASKS = 30;
const TRIALS = 4;
const CABINS = ['basic_economy', 'economy', 'business'] as const;
const CITIES = ['LIS', 'OSL', 'WAW', 'ATH', 'DUB', 'VIE', 'RIX'] as const;

const RULES = [
  'A booking can be cancelled within a day of making it, or when the airline has cancelled the flight.',
  'Travel insurance covers a refund for reasons of health or weather and for nothing else.',
  'Passengers of basic economy cannot change their flights; a change of cabin is allowed for all segments at once.',
  'Ask the customer to confirm with a plain yes before any change that is written to the database.',
  'Compensation is a certificate of a hundred for each passenger when a flight was cancelled, fifty when it was late.',
  'Never make up information, and call one tool at a time.',
];
/** Long, as policies are: prompts grow past five thousand tokens. */
const POLICY = Array.from(
  { length: 140 },
  (_, n) => `${n + 1}. ${RULES[n % RULES.length] ?? ''} (section ${Math.floor(n / RULES.length) + 1})`,
).join('\n');

const pick = <T>(from: readonly T[], n: number): T => from[n % from.length] as T;

/** One of five tasks goes another way in one trial; a task is solved or not whatever the trial else. */
function rewardOf(task: number, trial: number): number {
  const usual = task % 3 !== 0;
  const other = task % 5 === 1 && trial === Math.floor(task / 5) % TRIALS;
  return usual === other ? 0 : 1;
}

class Script {
  readonly messages: Message[] = [{ role: 'system', content: POLICY }];
  #calls = 0;

  say(role: 'user' | 'assistant', content: string): this {
    this.messages.push({ role, content });
    return this;
  }

  call(name: string, given: object, content: string): this {
    this.#calls += 1;
    const id = `call_${this.#calls}`;
    const call = { id, function: { name, arguments: JSON.stringify(given) } };
    this.messages.push({ role: 'assistant', content: null, tool_calls: [call] });
    this.messages.push({ role: 'tool', tool_call_id: id, name, content });
    return this;
  }
}

function converse(task: number, trial: number): Conversation {
  const user = `customer_${task % 20}`;
  const reservation = `R${String(task * 37 + 1_000)}`;
  const cabin = pick(CABINS, task);
  const [origin, destination] = [pick(CITIES, task), pick(CITIES, task + 3)];
  const reward = rewardOf(task, trial);
  const wantsRefund = task % 2 === 0;
  const instruction = wantsRefund
    ? `You are ${user}. Your flight ${reservation} was cancelled and you want your money back.`
    : `You are ${user}. You want to move reservation ${reservation} to another day in ${cabin}.`;
  const script = new Script()
    .say(
      'user',
      wantsRefund ? `Hello, I want a refund for ${reservation}.` : `Hi, please move ${reservation}.`,
    )
    .say('assistant', 'I am glad to help. '.repeat(4 + trial) + 'May I have your user id first?')
    .say('user', `It is ${user}.`)
    .call(
      'get_user_details',
      { user_id: user },
      JSON.stringify({ user, certificate: task % 4 === 0 ? 150 : 0 }),
    )
    .call(
      'get_reservation_details',
      { reservation_id: reservation },
      JSON.stringify({ reservation, origin, destination, cabin, insurance: task % 3 === 1 ? 'yes' : 'no' }),
    );
  if (wantsRefund) {
    if (task % 8 === 0) {
      script.call(
        'cancel_reservation',
        { reservation_id: `#${reservation}` },
        'Error: reservation not found',
      );
    }
    script.call(
      'cancel_reservation',
      { reservation_id: reservation },
      JSON.stringify({ status: 'cancelled' }),
    );
  } else {
    script.call('search_direct_flight', { origin, destination, cabin }, JSON.stringify([{ flight: 'TW1' }]));
    script.call('update_reservation', { reservation_id: reservation, cabin }, 'Error: payment was declined');
  }
  for (let turn = 0; turn < 2 + 3 * ((task + trial) % 3); turn += 1) {
    script
      .say('user', `Is there anything else for me in round ${turn}?`)
      .say('assistant', `Let me put together what applies in section ${turn + 1}. `.repeat(12));
  }
  const answer = reward === 1 ? `Done: ${reservation} is settled.` : 'I have to pass you on to a colleague.';
  script.say('user', 'Thank you, that is all.').say('assistant', `${answer} (attempt ${trial})`);
  return {
    task_id: task,
    trial,
    reward,
    info: { task: { user_id: user, instruction }, user_cost: 0.001 * (task + 1) },
    traj: script.messages,
  };
}

export const makeConversations = (): Conversation[] =>
  Array.from({ length: TRIALS }, (_, trial) =>
    Array.from({ length: TASKS }, (_each, task) => converse(task, trial)),
  ).flat();
