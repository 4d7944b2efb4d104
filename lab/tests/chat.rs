//! Two people chat through real clients, as a person will with the bot.

use std::time::Duration;

use lab::{Person, pair, wait};
use matrix_sdk::attachment::AttachmentConfig;
use ruma::events::room::message::RoomMessageEventContent;

#[tokio::test]
async fn an_encrypted_chat_crosses_between_homeservers() {
    let pair = pair().await.unwrap();
    let anna = pair.old.person("anna").await.unwrap();
    let ben = pair.new.person("ben").await.unwrap();

    let (annas, bens) =
        tokio::join!(anna.chat_with(ben.user_id(), true), ben.chat_from(anna.user_id()));
    let (annas, bens) = (annas.unwrap(), bens.unwrap());
    annas.say("are you there?").await.unwrap();
    let question = bens.hear_about("are you there").await.unwrap();
    bens.say("yes").await.unwrap();

    assert!(question.encrypted);
    assert!(annas.hear_about("yes").await.unwrap().encrypted);
    assert!(anna.direct().await.unwrap().contains_key(ben.user_id()));
    assert!(ben.direct().await.unwrap().contains_key(anna.user_id()));
}

#[tokio::test]
async fn a_plain_chat_shows_edits_reactions_and_redactions() {
    let pair = pair().await.unwrap();
    let (cleo, dan) = tokio::try_join!(pair.old.person("cleo"), pair.old.person("dan")).unwrap();
    let (cleos, dans) =
        tokio::join!(cleo.chat_with(dan.user_id(), false), dan.chat_from(cleo.user_id()));
    let (cleos, dans) = (cleos.unwrap(), dans.unwrap());

    let progress = dans.say("looking…").await.unwrap();
    let heard = cleos.hear_about("looking").await.unwrap();
    cleos.react(&heard.event_id, "✅").await.unwrap();
    dans.hear_edit(&progress, |message| message.reactions.len() == 1).await.unwrap();
    let edit = RoomMessageEventContent::text_plain("found").make_replacement(
        ruma::events::room::message::ReplacementMetadata::new(progress.clone(), None),
    );
    dans.send(edit).await.unwrap();
    let edited = cleos.hear_edit(&progress, |message| message.body == "found").await.unwrap();
    dan.redact(dans.room_id(), &progress).await.unwrap();
    cleos.redacted(&progress).await.unwrap();

    assert!(!heard.encrypted);
    assert_eq!(edited.earlier, ["looking…"]);
    assert_eq!(edited.reactions, [(cleo.user_id().to_owned(), "✅".to_owned())]);
}

#[tokio::test]
async fn what_is_not_heard_is_told_with_the_conversation() {
    let pair = pair().await.unwrap();
    let (eve, finn) = tokio::try_join!(pair.old.person("eve"), pair.old.person("finn")).unwrap();
    let (eves, finns) =
        tokio::join!(eve.chat_with(finn.user_id(), false), finn.chat_from(eve.user_id()));
    let (eves, finns) = (eves.unwrap().with_patience(Duration::from_secs(1)), finns.unwrap());

    finns.say("one").await.unwrap();
    finns.say("two").await.unwrap();
    eves.hear_about("two").await.unwrap();
    let error = eves.hear_about("one").await.unwrap_err();

    assert!(format!("{error:#}").contains("finn:    one\nfinn:    two"), "{error:#}");
}

#[tokio::test]
async fn a_second_device_is_written_to_as_well() {
    let pair = pair().await.unwrap();
    let (ida, jon) = tokio::try_join!(pair.old.person("ida"), pair.new.person("jon")).unwrap();
    let (idas, jons) =
        tokio::join!(ida.chat_with(jon.user_id(), true), jon.chat_from(ida.user_id()));
    let (idas, _jons) = (idas.unwrap(), jons.unwrap());

    let phone = Person::log_in(jon.account()).await.unwrap();
    let phones = phone.chat_in(idas.room_id(), ida.user_id()).await.unwrap();
    // That there is one more device has to get around, over federation.
    wait::until("ida's client knows both devices", Duration::from_secs(30), || async {
        let devices = ida.client().encryption().get_user_devices(jon.user_id()).await?;
        Ok((devices.devices().count() == 2).then_some(()))
    })
    .await
    .unwrap();
    idas.say("to all of you").await.unwrap();

    phones.hear_about("to all of you").await.unwrap();
}

#[tokio::test]
async fn what_could_not_be_decrypted_is_heard_in_its_place_once_the_keys_come() {
    let pair = pair().await.unwrap();
    let (kim, leo) = tokio::try_join!(pair.old.person("kim"), pair.old.person("leo")).unwrap();
    let (kims, leos) =
        tokio::join!(kim.chat_with(leo.user_id(), true), leo.chat_from(kim.user_id()));
    let (kims, leos) = (kims.unwrap(), leos.unwrap());
    kims.say("before the phone").await.unwrap();
    leos.hear_about("before the phone").await.unwrap();

    let phone = Person::log_in(leo.account()).await.unwrap();
    let phones = phone.chat_in(kims.room_id(), kim.user_id()).await.unwrap();
    assert!(phones.messages()[0].sealed);
    let keys = pair.lab.folder("keys").unwrap().join("keys");
    leo.client().encryption().export_room_keys(keys.clone(), "lab", |_| true).await.unwrap();
    phone.client().encryption().import_room_keys(keys, "lab").await.unwrap();
    kims.say("after it").await.unwrap();

    assert_eq!(phones.hear(|_| true).await.unwrap().body, "before the phone");
    assert_eq!(phones.hear(|_| true).await.unwrap().body, "after it");
}

#[tokio::test]
async fn an_encrypted_file_is_downloaded_as_it_was_sent() {
    let pair = pair().await.unwrap();
    let (mia, ned) = tokio::try_join!(pair.old.person("mia"), pair.new.person("ned")).unwrap();
    let (mias, neds) =
        tokio::join!(mia.chat_with(ned.user_id(), true), ned.chat_from(mia.user_id()));
    let (mias, neds) = (mias.unwrap(), neds.unwrap());

    let room = mia.client().get_room(mias.room_id()).unwrap();
    let (data, config) = (b"room,route".to_vec(), AttachmentConfig::new());
    room.send_attachment("report.csv", &"text/csv".parse().unwrap(), data, config).await.unwrap();

    let message = neds.hear(|message| message.file.is_some()).await.unwrap();
    assert_eq!(message.file.as_ref().unwrap().name, "report.csv");
    assert_eq!(neds.download(&message).await.unwrap(), b"room,route");
}
