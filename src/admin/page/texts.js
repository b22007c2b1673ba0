// Every word of the page, in both languages. `data-text` and `data-label` name a key.

const TEXTS = {
  operators: ["for operators", "運用コンソール"],
  skip: ["Skip to the content", "本文へ移動"],
  views: ["Views", "画面"],
  otherLanguage: ["日本語", "English"],
  dark: ["Dark", "ダーク"],
  light: ["Light", "ライト"],
  signIn: ["Sign in", "サインイン"],
  signOut: ["Sign out", "サインアウト"],
  signInTitle: ["Yamabiko for operators", "Yamabiko 運用コンソール"],
  keyNote: [
    "Enter the secret of a key in [[api.keys]]. It stays in this tab and is sent only to this server.",
    "[[api.keys]] のキーのシークレットを入力してください。このタブの中だけに保存され、このサーバー以外には送信されません。",
  ],
  key: ["Key", "キー"],
  notAKey: ["a key has only printable ASCII characters", "キーに使えるのは印字可能なASCII文字だけです"],
  unknownKey: ["No key of this server has this secret.", "このシークレットを持つキーはサーバーにありません。"],
  noKeyNeeded: ["No key needed", "キー不要"],
  readOnly: ["read-only", "読み取り専用"],
  via: ["via", "接続先："],
  lacksScope: ["The key lacks the scope “{scope}”. Add it to its scopes in [[api.keys]].", "このキーにはスコープ「{scope}」がありません。[[api.keys]] の scopes に追加してください。"],
  loading: ["Loading…", "読み込み中…"],
  failed: ["This did not work: {detail}", "失敗しました：{detail}"],
  incomplete: ["These nodes have not answered, and what only they know is missing: {nodes}", "次のノードから応答がないため、一部が欠けています：{nodes}"],
  refresh: ["Refresh", "更新"],
  filter: ["Filter", "絞り込む"],
  cancel: ["Cancel", "キャンセル"],
  all: ["All", "すべて"],
  native: ["native", "native"],
  unknown: ["unknown", "不明"],
  pages: ["Pages", "ページ"],
  previousPage: ["Previous page", "前のページ"],
  nextPage: ["Next page", "次のページ"],
  pageNumber: ["Page {page}", "{page}ページ目"],
  entries: ["{count} entries", "{count}件"],
  andMore: ["and {count} more", "ほか{count}件"],
  nothingFound: ["Nothing matches the filter.", "条件に合うものはありません。"],
  days: ["{count} d", "{count}日"],
  hours: ["{count} h", "{count}時間"],
  minutes: ["{count} min", "{count}分"],
  seconds: ["{count} s", "{count}秒"],

  overview: ["Overview", "概要"],
  allWell: ["All is well: every node answers and can publish.", "正常です。すべてのノードが応答し、配信できる状態です。"],
  alertUnreachable: ["This node does not answer: {detail}", "このノードから応答がありません：{detail}"],
  alertMissing: ["Node {node} does not answer.", "ノード {node} から応答がありません。"],
  alertBroker: ["Node {node} cannot publish: {reason}", "ノード {node} は配信できません：{reason}"],
  alertDraining: ["Node {node} is shutting down.", "ノード {node} は停止処理中です。"],
  alertFull: ["Node {node} is almost full: {connections} of {limit} connections.", "ノード {node} の接続数が上限に近づいています：{connections} / {limit}"],
  alertGone: ["Node {node} is gone.", "ノード {node} がなくなりました。"],
  alertDropped: ["{count} messages were dropped in the last minute; the log says why.", "直近1分間に{count}件のメッセージが破棄されました。理由はログで確認できます。"],
  alertSlow: ["{count} slow consumers were disconnected in the last minute.", "受信の遅いクライアントを直近1分間に{count}件切断しました。"],
  alertVersions: ["The nodes run different versions: {versions}", "ノードのバージョンが一致していません：{versions}"],
  connections: ["Connections", "接続"],
  ofLimit: ["of {limit}", "/ {limit}"],
  messagesRate: ["Client messages/s", "クライアント送信/秒"],
  copiesRate: ["Copies/s", "配信/秒"],
  refusedRate: ["Refused/s", "拒否/秒"],
  droppedRate: ["Dropped/s", "破棄/秒"],
  slowRate: ["Slow consumers/s", "受信遅延切断/秒"],
  inRate: ["In/s", "受信/秒"],
  perSecond: ["Per second", "毎秒"],
  perSecondShort: ["Msg/s", "件/秒"],
  open: ["open", "接続中"],
  messages: ["client messages", "クライアント送信"],
  copies: ["copies", "配信"],
  chartSays: ["{name}: {now} now, {low} to {high} in the last five minutes", "{name}：現在 {now}、直近5分間は {low}～{high}"],
  minutesAgo: ["{count} min ago", "{count}分前"],
  secondsAgo: ["{count} s ago", "{count}秒前"],
  now: ["now", "現在"],
  nodes: ["Nodes", "ノード"],
  node: ["Node", "ノード"],
  noNodes: ["No node has answered.", "応答したノードがありません。"],
  state: ["State", "状態"],
  ready: ["ready", "正常"],
  draining: ["draining", "停止処理中"],
  brokerAway: ["no broker", "Redis接続なし"],
  silent: ["no answer", "応答なし"],
  cpu: ["CPU", "CPU"],
  memory: ["Memory", "メモリ"],
  uptime: ["Up for", "稼働時間"],
  version: ["Version", "バージョン"],
  name: ["Name", "名前"],
  busyChannels: ["Busiest channels", "メッセージの多いチャンネル"],
  busySenders: ["Busiest senders", "送信の多いユーザー"],
  counting: ["Counting…", "集計中…"],
  noTraffic: ["No messages in the last seconds.", "直近のメッセージはありません。"],

  channel: ["Channel", "チャンネル"],
  channels: ["Channels", "チャンネル"],
  noChannels: ["No channel has a subscriber.", "購読中のチャンネルはありません。"],
  prefix: ["Name starts with", "名前の先頭"],
  app: ["App", "アプリ"],
  subscribers: ["Subscribers", "購読者"],
  members: ["Members", "メンバー"],
  history: ["History", "履歴"],
  noHistory: ["none", "なし"],
  noMessageYet: ["No message yet", "まだメッセージはありません"],
  nobodyHere: ["Nobody is on this channel.", "このチャンネルには誰もいません。"],
  publishHere: ["Publish here", "ここに配信"],
  disconnectAll: ["Disconnect everyone", "全員を切断"],
  disconnectChannelQuestion: ["Close all connections on {channel}?", "{channel} のすべての接続を切断しますか？"],
  allConnections: ["All connections on this channel", "このチャンネルのすべての接続"],
  showChannel: ["Show the channel", "チャンネルを表示"],

  connection: ["Connection", "接続"],
  noConnections: ["No connection is open.", "接続はありません。"],
  onChannel: ["On channel", "チャンネル名"],
  unread: ["Unread", "未読"],

  user: ["User", "ユーザー"],
  users: ["Users", "ユーザー"],
  userName: ["Name", "名前"],
  noUsers: ["No user is connected.", "接続中のユーザーはいません。"],
  userPrefix: ["User ID starts with", "ユーザーIDの先頭"],
  userHasNone: ["The user has no connection.", "このユーザーの接続はありません。"],
  disconnect: ["Disconnect", "切断"],
  disconnectConnection: ["Close the connection {connection}?", "接続 {connection} を切断しますか？"],
  disconnectUser: ["Disconnect the user", "ユーザーを切断"],
  disconnectUserQuestion: ["Close all connections of user {user}?", "ユーザー {user} のすべての接続を切断しますか？"],
  disconnectNote: [
    "On all nodes. Pages do not reconnect by themselves, but they can. To keep a user out, revoke their tokens.",
    "すべてのノードが対象です。ページは自動では再接続しませんが、再び接続することはできます。締め出すにはトークンを失効させてください。",
  ],
  disconnected: ["The connections are being closed.", "切断を要求しました。"],
  revoke: ["Revoke tokens", "トークンを失効"],
  revokeQuestion: ["Revoke all tokens of user {user}?", "ユーザー {user} のすべてのトークンを失効させますか？"],
  revokeNote: [
    "The user's native connections are closed on all nodes, and no token of the user is accepted until the revocation ends, also not a new one.",
    "ユーザーのnative接続をすべてのノードで切断します。失効期間が終わるまで、新しく発行したものも含めてトークンは受け入れられません。",
  ],
  revoked: ["No token of user {user} is accepted until {until}.", "{until} まで、ユーザー {user} のトークンは受け入れられません。"],
  followInTail: ["Follow in the live tail", "ライブテールで追跡"],

  publish: ["Publish", "配信"],
  publishNote: ["The message takes the same path as one of your application.", "アプリケーションからの配信と同じ経路で届きます。"],
  eventName: ["Event", "イベント名"],
  data: ["Data (JSON)", "データ（JSON）"],
  sampleMessage: ["Hello", "こんにちは"],
  published: ["Published.", "配信しました。"],
  publishedWithout: ["Published without the keys that the channel's kind does not deliver: {keys}.", "配信しました。この種類のチャンネルで配信されないキーは除かれています：{keys}。"],
  notJson: ["This is not JSON: {detail}", "JSONとして正しくありません：{detail}"],
};

export const language = () => (document.documentElement.lang === "ja" ? "ja" : "en");

export function text(key, values = {}) {
  const phrase = TEXTS[key]?.[language() === "ja" ? 1 : 0] ?? key;
  return phrase.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Writes the words into everything that names a key. */
export function applyTexts() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]:not(td)")) element.setAttribute("aria-label", text(element.dataset.label));
}

export function remember(key, value) {
  try {
    localStorage.setItem(`yamabiko.${key}`, value);
  } catch {
    // Storage is a convenience: without it the choice lasts for this page.
  }
}
