// A node that reads, by Fast DDS, and takes no message apart: `fast.py` does.
//
//     fast DOMAIN < TOPICS
//
// On standard input topics and their types, a pair a line; it ends with that. It stays on
// 127.0.0.1. One line a message on standard output: the topic, and its CDR as hex. `found` where
// somebody is there whom it may read.
#include <fastdds/dds/domain/DomainParticipant.hpp>
#include <fastdds/dds/domain/DomainParticipantFactory.hpp>
#include <fastdds/dds/subscriber/DataReader.hpp>
#include <fastdds/dds/subscriber/DataReaderListener.hpp>
#include <fastdds/dds/subscriber/SampleInfo.hpp>
#include <fastdds/dds/subscriber/Subscriber.hpp>
#include <fastdds/dds/topic/TopicDataType.hpp>
#include <fastdds/rtps/transport/UDPv4TransportDescriptor.h>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

using namespace eprosima::fastdds::dds;
using Bytes = std::vector<unsigned char>;
using Payload = eprosima::fastrtps::rtps::SerializedPayload_t;

// A type of which nothing is known but its name.
struct Raw : TopicDataType {
    explicit Raw(const std::string& name) {
        setName(name.c_str());
        m_typeSize = 64 << 10;
        m_isGetKeyDefined = false;
    }
    bool deserialize(Payload* from, void* to) override {
        static_cast<Bytes*>(to)->assign(from->data, from->data + from->length);
        return true;
    }
    void* createData() override { return new Bytes; }
    void deleteData(void* data) override { delete static_cast<Bytes*>(data); }
    // it writes nothing
    bool serialize(void*, Payload*) override { return false; }
    std::function<uint32_t()> getSerializedSizeProvider(void*) override {
        return [] { return 0; };
    }
    bool getKey(void*, eprosima::fastrtps::rtps::InstanceHandle_t*, bool) override { return false; }
};

void tell(const std::string& line) {
    static std::mutex one;
    std::lock_guard<std::mutex> lock(one);
    std::cout << line << std::endl;
}

struct Teller : DataReaderListener {
    std::string topic;

    explicit Teller(const std::string& topic) : topic(topic) {}

    void on_subscription_matched(DataReader*, const SubscriptionMatchedStatus& now) override {
        if (topic == "/demeanor/events" && now.current_count_change > 0) tell("found");
    }
    void on_data_available(DataReader* reader) override {
        Bytes bytes;
        SampleInfo info;
        while (reader->take_next_sample(&bytes, &info) == ReturnCode_t::RETCODE_OK) {
            if (!info.valid_data) continue;
            std::string line = topic + " ";
            char hex[3];
            for (unsigned char byte : bytes) {
                std::snprintf(hex, sizeof hex, "%02x", byte);
                line += hex;
            }
            tell(line);
        }
    }
};

int main(int, char** words) {
    DomainParticipantQos qos;
    auto udp = std::make_shared<eprosima::fastdds::rtps::UDPv4TransportDescriptor>();
    udp->interfaceWhiteList = {"127.0.0.1"};
    qos.transport().use_builtin_transports = false;
    qos.transport().user_transports = {udp};
    auto* participant =
        DomainParticipantFactory::get_instance()->create_participant(std::stoi(words[1]), qos);
    auto* subscriber = participant->create_subscriber(SUBSCRIBER_QOS_DEFAULT);
    // as `ros2 topic echo` reads
    DataReaderQos quality;
    quality.reliability().kind = RELIABLE_RELIABILITY_QOS;
    quality.history().depth = 100;
    std::string topic, type;
    while (std::cin >> topic >> type) {
        TypeSupport(new Raw(type)).register_type(participant);
        auto* of = participant->create_topic("rt" + topic, type, TOPIC_QOS_DEFAULT);
        subscriber->create_datareader(of, quality, new Teller(topic));
    }
    // what it made ends with it
    std::_Exit(0);
}
